"""Owns the sentences that describe subjects and explain how things work."""

from __future__ import annotations

DESCRIPTIONS = """
= ocean | the ocean | the ocean
The ocean is wide and blue, and it never stands still.
Waves roll over the ocean like sleepy hills.
In the deep ocean live fish that carry their own lamps.
The ocean tastes of salt, because rivers bring it tiny bits of stone.
Twice a day the ocean climbs up the shore, and twice a day it goes back.
Ships cross the ocean and leave white lines behind them.
The ocean can whisper, and the ocean can roar.

= dog | dogs | a dog
A dog says hello with its tail.
A dog can smell things that nobody else can smell.
Some dogs guard sheep, and some dogs guard slippers.
When a dog is tired, it turns around twice and lies down.
A dog can hear its friend come home from far away.
Young dogs chew everything, but old dogs prefer the sofa.
A good dog waits by the door, in every kind of weather.

= cat | cats | a cat
A cat walks as if the floor were made of feathers.
Cats wash their faces with one paw.
A cat can sleep on a shelf, in a hat or on a newspaper.
When a cat is pleased, it purrs like a small engine.
In the dark, the eyes of a cat shine green.
A cat comes when it wants to, and not when it is called.

= robot | robots | a robot
A robot has wheels or legs, and a lamp on its chest.
A robot never gets tired, but its battery does.
Some robots build cars, and some robots sweep floors.
A robot follows a list of steps, one after the other.
When a robot is thinking, its lights blink.
A robot can count to a million, but it cannot smell a rose.

= owl | owls | an owl
An owl can turn its head almost all the way around.
Owls sleep by day and hunt by night.
The wings of an owl are so soft that nobody hears them.
An owl lives in a hollow tree or in an old barn.
At midnight the owl calls, and the forest listens.

= bee | bees | a bee
A bee visits hundreds of flowers in a day.
Bees carry yellow dust on their legs.
When a bee finds a good flower, it tells the others with a wiggle.
Bees build small rooms of wax, and each room has six sides.
In the hive, the bees turn flower juice into honey.

= whale | whales | a whale
A whale is as long as a row of buses.
A whale breathes through a hole on top of its head.
Whales call to each other through miles of dark water.
A young whale drinks milk and grows quickly.
When a whale jumps, the sea splashes like thunder.

= elephant | elephants | an elephant
An elephant has ears like two big sails.
With its trunk, an elephant can lift a log or a peanut.
Elephants walk in a long line, and the oldest one leads.
An elephant remembers a friend for many years.
On hot days, elephants throw mud on their backs.

= penguin | penguins | a penguin
A penguin cannot fly, but it swims like an arrow.
Penguins stand close together when the wind is cold.
A penguin slides over the ice on its belly.
The father penguin keeps the egg warm on his feet.
Penguins look as if they were dressed for a concert.

= horse | horses | a horse
A horse can sleep while it is standing up.
Horses run like the wind over the open field.
A horse moves its ears to show what it thinks.
In winter, a horse grows a thick, woolly coat.
A horse likes carrots, apples and a kind voice.

= frog | frogs | a frog
A frog begins its life as a tiny black dot in the water.
Frogs drink through their skin.
A frog catches flies with a long, sticky tongue.
On warm nights, all the frogs in the pond croak together.
A frog can jump ten times as far as it is long.

= spider | spiders | a spider
A spider has eight legs and never wears shoes.
Spiders spin thread that is thinner than hair and very strong.
In the morning, drops of dew hang on the web of a spider.
A spider waits in the middle and feels every little shake.
Spiders are shy, and they would rather run away.

= butterfly | butterflies | a butterfly
A butterfly was once a hungry caterpillar.
Butterflies taste with their feet.
The wings of a butterfly are covered with colored dust.
A butterfly drinks from a flower through a thin straw.
Some butterflies fly all the way to warmer lands.

= moon | the moon | the moon
The moon is round, but often it shows only a slice.
The moon has no light of its own, and it borrows from the sun.
On the moon there are mountains, and there is gray dust.
The moon pulls at the water and makes the tides.
People have walked on the moon, and their footprints are still there.

= sun | the sun | the sun
The sun is a ball of fire, very far away.
The sun wakes the birds and opens the flowers.
Without the sun, nothing green could grow.
The light of the sun needs eight minutes to reach us.
In the evening, the sun paints the clouds red and gold.

= rain | rain | rain
Rain falls on the rich and on the poor.
Rain drums on the roof like a thousand tiny fingers.
After the rain, the air smells of earth and grass.
Rain fills the rivers, and the rivers fill the sea.
Without rain, the fields would turn brown.

= snow | snow | snow
Snow makes the loud world quiet.
Every flake of snow has six points, and no two are the same.
Fresh snow squeaks under a boot.
Under the snow, the seeds keep warm and wait.
Snow turns a fence into a row of white hats.

= wind | the wind | the wind
Nobody can see the wind, but everybody can feel it.
The wind turns the mill and fills the sails.
The wind carries seeds to places far away.
In autumn, the wind plays with the leaves.
Sometimes the wind howls, and sometimes the wind only hums.

= volcano | volcanoes | a volcano
A volcano is a mountain with fire in its belly.
Deep under a volcano, the stone is so hot that it flows.
When a volcano wakes up, the ground begins to shake.
Ash from a volcano makes the soil rich.
Some volcanoes sleep for a thousand years.

= rainbow | rainbows | a rainbow
A rainbow needs two things, water and light.
A rainbow begins with red and ends with violet.
Nobody has ever touched a rainbow.
To see a rainbow, you must stand with your back to the sun.
Sometimes there is a second rainbow above the first.

= cloud | clouds | a cloud
A cloud is made of very small drops of water.
Some clouds look like sheep, and some clouds look like ships.
A cloud can be as heavy as a hundred elephants.
Dark clouds bring storms, and thin clouds bring fine days.
A cloud on the ground is called fog.

= tree | trees | a tree
A tree drinks with its roots and breathes with its leaves.
Every year a tree grows one more ring.
A big tree is a house for birds, beetles and squirrels.
In autumn many trees let go of their leaves.
The oldest trees are older than any castle.

= city | the city | the city
The city never sleeps, and its windows shine all night.
In the city, the houses are as tall as cliffs.
Buses, bikes and taxis hurry through the city.
There are a hundred languages in the city, and just as many kinds of soup.
Early in the morning, the city belongs to the street sweepers.

= winter | winter | winter
In winter the days are short and the nights are long.
Bears sleep through the winter, and mice live on their supplies.
Winter draws ferns of ice on the windows.
In winter, the pond becomes a mirror.
Winter is the best time for soup and stories.

= autumn | autumn | autumn
In autumn the leaves turn red, brown and gold.
In autumn, the swallows fly to the south.
Autumn smells of smoke, apples and wet earth.
Squirrels are busy in autumn, because they must hide their nuts.
Autumn is the evening of the year.

= shadow | shadows | a shadow
A shadow follows you, but it never makes a sound.
At noon a shadow is short, and in the evening a shadow is long.
A shadow is a place where the light cannot go.
With two hands, you can make a shadow that looks like a bird.
When the lamp goes out, every shadow is gone.

= bread | bread | bread
Bread begins as grain on a field.
The smell of fresh bread can wake a whole street.
Good bread has a hard crust and a soft heart.
Some bread is flat, some bread is round, and some bread is as long as an arm.
People have baked bread for thousands of years.

= turtle | turtles | a turtle
A turtle carries its house on its back.
Turtles are slow on land, but quick in the water.
A turtle can live longer than a person.
When a turtle is in danger, it pulls in its head.
Sea turtles lay their eggs in warm sand.

= dragon | dragons | a dragon
A dragon has wings like a bat and scales like a fish.
Dragons sleep on their treasure, so that nobody can take it.
The breath of a dragon can boil a kettle.
A dragon counts its age in hundreds of years.
Most dragons are shy, although nobody believes it.

= star | the stars | the stars
A star is a sun that is very far away.
Some stars are blue and hot, and some stars are red and old.
Sailors found their way home by the stars.
On a clear night, you can see thousands of stars.
The light of a star travels for years before we see it.
"""

EXPLANATIONS = """
= kite | how a kite flies | a kite
"A kite is light, and the wind is strong," {khe} said.
The wind pushes against the kite, and the string holds it back.
Because the kite leans, the wind must slide down under it and lift it up.
The tail keeps the kite steady, so that it does not spin.
When the wind stops, the kite comes down again.

= rain | where rain comes from | rain
The sun warms the sea, and some of the water rises into the air.
High up, where it is cold, the water turns into tiny drops.
Many tiny drops make a cloud, and they bump into each other and grow.
When the drops are too heavy, they fall, and we call it rain.
Then the rain runs back to the sea, and everything begins again.

= bread | how bread is made | bread
First the grain is ground into flour.
Then flour, water, salt and yeast are mixed into dough.
The yeast makes little bubbles, and the dough grows twice as big.
The baker folds the dough, shapes it and lets it rest.
In the hot oven the bubbles stay, and that is why bread is soft inside.

= boat | why a boat floats | a boat
Water pushes up against everything that lies in it.
A stone is heavy and small, so the push is too weak.
A boat is hollow and wide, and it moves a lot of water out of the way.
The more water it moves, the harder the water pushes the boat up.
If the boat fills with water, it becomes heavy like the stone and sinks.

= clock | how a clock works | a clock
Inside the clock there is a spring, and someone has to wind it up.
The spring wants to unroll, and it turns a wheel.
A little fork stops the wheel and lets it go, again and again, tick and tock.
The big wheel of the clock turns a small wheel, and the small wheel turns the hands.
That is why the clock must be wound again when the spring is loose.

= seed | how a seed grows | a seed
A seed is a tiny plant that sleeps in a coat.
When it gets water, the seed swells and the coat breaks.
First a root grows down, and then a shoot grows up.
The first leaves open and catch the light of the sun.
Now the plant can cook its own food, and it no longer needs the seed.

= honey | how honey is made | honey
A bee flies from flower to flower and drinks the sweet juice.
She carries it home in a second stomach, which is only for that.
In the hive she gives it to another bee, mouth to mouth.
The bees fan it with their wings until it is thick.
Then they close it up with wax, and it is honey.

= lamp | how a lamp works | a lamp
In the wall there is a wire, and something invisible runs through it.
When you press the switch, the road is closed to a ring, and the current can run.
It runs through the lamp and makes a thin part of it glow.
When you press again, there is a gap in the road, and the lamp goes dark.
So the switch is like a small bridge.

= wheel | how a wheel helps | a wheel
If you pull a heavy box over the ground, it scrapes and sticks.
A wheel does not scrape, because it rolls.
Only a small part of the wheel touches the ground at a time.
The bigger the wheel is, the easier it rolls over stones.
That is why one person with a wheel can move more than four without it.

= echo | what an echo is | an echo
When you shout, the sound flies off like a ball.
It flies to the wall of rock over there and bounces.
Then it flies all the way back, and you hear an echo.
If the wall is far away, the echo takes longer.
In a soft room there is no echo, because pillows swallow the sound.

= magnet | how a magnet works | a magnet
In a piece of iron there are countless tiny arrows.
Most of the time the arrows point here and there, and nothing happens.
In a magnet, all the arrows point the same way.
Together the arrows are strong, and they pull at nails and pins.
Two magnets can pull at each other, or they can push each other away.

= rainbow | how a rainbow is made | a rainbow
The light of the sun looks white, but all the colors are hidden in it.
When the light goes into a drop of water, it bends.
Red bends a little, and violet bends more, so the colors come apart.
A million drops send a million colors back to us.
That is why a rainbow needs both sun and water.
"""
