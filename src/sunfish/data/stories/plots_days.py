"""Owns the plots about days and places: the sea, rain, snow, baking, gardens, journeys, nights and noises."""

from __future__ import annotations

PLOTS = """
== day_at_the_sea
@open

{N} and {his} {kin} took a bus to the sea and brought {a.color} {thing}.
That day {his} {kin} took {him} to the sea, with {a.thing} and a big towel.
{He} had packed {a.thing}, because {he} was going to the sea.

@m1

The waves rolled in, one after the other, and the sand was warm.
The water was cold, and it tickled {his} toes.
Gulls cried over the water, and the air tasted of salt.

?
{N} built a castle of sand with {num} towers.
The {hero} dug a hole so deep that water came in.
{N} collected {num} shells and put them in a row.

Then a big wave came and carried the {thing} away.
Suddenly a wave rolled up and took the {thing} with it.
Nobody saw the wave that pulled the {thing} into the water.

@m2

{A.friend} named {F} swam after the {thing} and brought it back.
"I can get it," said {a.friend} named {F}, and {fhe} jumped into the water.
{N} ran along the sand, and {a.friend} named {F} ran with {him}.

{N} dried the {thing} in the sun and thanked {F}.
Soon the {thing} lay on the sand again, wet but whole.
The next wave was kind, and it brought the {thing} back.

?
They ate {pl.food} on the towel and talked about ships.
{F} put a shell to {his} ear, and {N} heard the sea.
In the evening, they had sand in their hair and salt on their lips.

@m3
@end

== rainy_day
@open

Dark clouds came, and everybody stayed inside.
Water ran down the windows, and {N} could not go out.
It poured all morning, and the paths turned into streams.

@m1

"There is nothing to do," said {N}.
{N} pressed {his} nose against the glass.
{N} looked at {his} {thing}, but {he} had played with it too often.

Then {his} {kin} put {a.thing} and a blanket on the table.
"Give me that {thing}, and I will show you something," said {his} {kin}.
In the corner {he} found {a.thing} and a pile of old sheets.

@m2

They built a tent, and the {thing} became a lamp, a ship and a throne.
They made boats of {color} paper and let them swim in the bath.
{N} and {his} {kin} told stories about {a.critter} who wanted to be king.

They ate {pl.food} in the tent, and no one minded the crumbs.
{His} {kin} showed {him} how to play the {instrument}.
~

?
Then {N} put on boots and jumped into every puddle.
By evening {N} had forgotten the weather.
"I hope that it pours tomorrow too," said {N}.

?
The {hero} hung up {his} wet coat and put the {thing} back.
The {thing} stayed in the tent that night.
Wet days were not dull at all, the {hero} thought.

@m3
@end

== first_snow
@open

One winter morning the world was white and very quiet.
When winter came, {N} opened the curtains, and everything was white.
The first frost of the year had come, and soft white flakes were falling.

@m1

{He} put on {a.color} scarf and ran out with {a.thing}.
{He} found {his} warm coat and pulled {a.thing} out of the {container}.
"Come out, come out!" called {a.friend} named {F}.

?
{N} made a ball, and then a bigger ball, and then a giant one.
They slid down the slope {num} times.
The {hero} walked backward to look at {his} own footprints.

{F} and {N} found {a.food} for a nose and two buttons for the eyes.
{A.friend} named {F} brought {a.food} for a nose and two buttons for the eyes.
Together with {F}, {a.friend} in {a.color} coat, {he} rolled the ball up the slope.
{A.friend} named {F} put {his} {thing} on top, and it looked like a crown.

@m2

At the end a white figure stood there, with {a.thing} in its arm.
They gave their white friend a name, and the name was Mister Frost.
{N} put {his} own hat on the white head.

?
{His} fingers were cold, but {he} did not want to go in.
Soon their noses were red, and {his} {kin} called them in.
The {critter} sat on a branch and watched them.

By the fire, {N} and {F} ate {pl.food} and warmed their toes.
{N} looked out at the white figure and waved.
"It may be gone tomorrow, but today it is ours," said {F}.

@m3
@end

== baking
@open

{N} wanted to bake {a.food} cake for {his} {kin}.
"Today we will bake {num} cakes," said {his} {kin}.
The {hero} had never baked anything before, but {he} had a recipe.

@m1

?
{He} needed flour, sugar, butter and {num} eggs.
{N} tied on {a.color} apron and washed {his} hands.
The recipe was old, and one corner of it was missing.

{N} mixed and stirred until {his} arm was tired.
A cloud of flour rose up, and {N} turned white from head to toe.
One egg rolled off the table and landed in {his} shoe.

"Did you put in the salt or the sugar?" asked {F}, {a.friend} who had come to help.
{A.friend} named {F} came to help and stirred with {a.thing}.
{A.friend} named {F} tasted the dough and made a face.

@m2

The cake went into the oven, and they waited.
They sat in front of the oven and watched the cake grow.
After a while, a sweet smell filled the house.

?
The cake was a little crooked, but it was golden.
One side was too dark, and the other side was almost {color}.
{F} put {a.flower} on top, right in the middle.

"This is the best cake in town," said {his} {kin}.
They cut the cake into {num} pieces, and nobody wanted to stop.
{N} gave the first piece to {F}.

"All it takes is practice," said {N}.
Next time, {N} would use the sugar and not the salt.
{N} kept the recipe and drew the missing corner.

@m3
@end

== garden
@open

Behind the house was a bare patch of ground, and {N} had {num} seeds.
{His} {kin} gave {him} a seed as small as a crumb.
"What will grow from this seed?" asked {N}.

@m1

The {hero} dug a hole with {a.thing} and put the seed in.
{N} pressed the seed into the soil and gave it water.
{He} made a sign that said, "Please do not step on me."

?
On the first day nothing happened, and on the second day nothing happened.
{N} looked every morning, but the ground stayed brown.
"Grow, please grow," said {N} to the ground.

{A.friend} named {F} told {him} to wait. "Seeds cannot tell the time," said {F}.
{A.critter} wanted to eat the seed, but {F}, {a.friend} with a broom, kept watch.
"Give it water, sun and time," said {F}, {a.friend} who knew about plants.

@m2

After {num} days, a tiny green leaf looked out.
One morning there was a green point, no bigger than a pin.
Then, on {weekday}, the soil cracked, and a stem came up.

?
It grew as high as {his} knee, then as high as {his} nose.
The {hero} tied the stem to {a.thing}, so that the wind could not break it.
Every evening {N} told the plant about {his} day.

In {season}, it opened, and it was {a.color} {flower}.
At last there was {a.flower}, and it turned its face to the sun.
One flower became {num}, and soon the whole garden was {color}.

"I waited, and it was worth it," said {N}.
{N} gave the first {flower} to {F}.
The {hero} saved the new seeds in {his} {container}.

@m3
@end

== night_sky
@open

That night {N} did not want to go to bed yet.
When it was dark, {N} took {a.thing} and climbed onto the roof.
"Come out and look up," said {his} {kin} that night.

@m1

The sky was black, and it was full of tiny lights.
One light after another came out, first {num}, and then a thousand.
Above the {place}, the sky was wider than {he} had ever seen it.

"How far away are they?" asked {N}.
"Which one is the brightest?" asked {N}.
{N} tried to count the lights, but {he} always lost count after {num}.

"Farther than any train can go," said {his} {kin}.
{His} {kin} pointed with {a.thing}. "That one looks like {a.critter}," {khe} said.
"Their light is older than the {tree} tree in our garden," said {his} {kin}.

@m2

Then one of the lights fell, with a long {color} tail.
A bright line crossed the sky and was gone.
Suddenly something flashed over the roofs.

?
{N} drew lines from light to light and found {a.thing} in the sky.
The {hero} gave a name to the brightest one and called it Old Lantern.
{N} lay on {his} back and did not say a word.

?
"They have been there all the time," said {N}.
"We are very small," said {N}, and {he} did not mind it.
{His} {kin} put a warm coat around {him}.

@m3
@end

== journey
@open

{N} was going on a journey by train with {his} {color} {thing}.
A long journey lay before {him}, and {he} carried only {a.thing} and {a.food}.
"All aboard!" called the man on the train, and {N} jumped in with {his} {thing}.

@m1

?
The wheels said clickety-clack, and the houses flew past.
Outside, the fields were green, then yellow, then brown.
The train went over {num} bridges and through a long tunnel.

Across from {him} sat {a.friend} named {F}.
At the next stop {a.friend} named {F} got in and sat down beside {him}.
In the same car was {a.friend} named {F}, with {a.thing2} on {fhis} knees.

?
"Where are you going?" asked {F}.
"Is this the way to the {place}?" asked {F}.
{F} offered {N} {a.food}, and they began to talk.

@m2

Then the train stopped in the middle of nowhere.
Suddenly there was a bump, and the train stood still.
After an hour the engine coughed and stopped.

?
A cow stood on the rails, and it did not want to move.
{A.tree} tree had fallen on the rails.
The driver had lost a wheel, and nobody knew what to do.

{N} used the {thing} to clear the way, and {F} helped.
Together {N} and {F} pulled until the way was free.
{N} waved the {color} {thing}, and help came from the next farm.

The train whistled, and everybody clapped.
They came to the {place} just before dark.
"It was not the place but the way that I liked," said {F}.

@m3
@end

== odd_noise
@open

In the night that followed, {he} heard a noise, and it went {noise}.
Something behind the wall went {noise}.
Just as {he} was about to leave, {he} heard it, {noise}.

@m1

"Who is there?" asked {N}.
The {hero} sat up and listened.
{N} picked up {a.thing} and tiptoed to the door.

?
The noise came again, {noise}, and it was louder now.
It stopped, and then it began again, {noise}.
~

{N} woke {his} friend {F}, {a.friend} with sharp ears.
{A.friend} named {F} heard it too and came with a lamp.
"I hear it too," said {F}, {a.friend} who lived next door.

@m2

They looked in {a.container}, but it was empty.
They followed the noise down the stairs and past the {tree} tree.
{F} held the lamp, and {N} opened {a.container}.

It was only {a.critter} that could not find the way out.
There sat {a.critter}, trying to open {a.thing}.
Behind {a.thing} sat {a.critter}, and it looked at them with round eyes.

"So it was you all the time," said {N}.
{N} opened the window, and the {critter} went home.
They gave it some crumbs of {a.food}, and the noise stopped.

?
Since that night, {N} does not mind any noise.
"A noise is only a question," said {F}.
The {critter} came back on {weekday} and went {noise}.

@m3
@end

== quest
@open

The well had run dry, and somebody had to find the {color} {thing}.
"Only the {color} {thing} can help us now," said {his} {kin}.
An old tale said that {a.color} {thing} was hidden behind the mountains.

@m1

"I will find that {thing}," said {N}.
{N} packed {num} {pl.food} and set off.
The {hero} took a stick, a hat and a loaf of bread.

?
{He} walked for {num} days, over hills and through dark woods.
The road was long, and {his} boots grew thin.
First came a river without a bridge, and then a wall without a door.

On the way {he} met {a.friend} named {F}, who knew the road.
At a crossroads sat {a.friend} named {F}. "Go left," said {F}.
{A.friend} named {F} was stuck under a log, and {N} helped {fhim} out.

@m2

At the top of a tower lay the {thing}, and {a.critter} guarded it.
There it was, the {color} {thing}, in the middle of a lake.
Behind a waterfall, {N} and {F} saw the {thing}.

?
"What is heavier, a stone or a feather?" asked the guard.
{N} bowed and asked for it politely, and nobody had ever done that before.
{F} climbed onto {his} back, and so they reached it.

{N} took the {thing} and carried it home.
With the {thing} in {his} bag, {N} ran all the way back.
{N} held the {thing} up, and everyone {at.place} cheered.

?
When {he} put the {thing} down by the well, the water came back.
At once the well was full, and the people cheered for the {hero}.
{N} never said that {he} was a hero, but {F} said it for {him}.

@m3
@end

== place_description
@open

In the middle of it stood {a.tree} tree, older than any house.
The first thing that anyone saw there was {a.color} gate.
There was {a.color} bench, and on the bench lay {a.thing}.

@m1

It smelled of {pl.flower} and fresh bread.
It smelled of old {material} and of {season}.
The air smelled of {pl.food} and a little of smoke.

?
{A.critter} lived in the roof and came out at noon.
Somewhere, someone was playing the {instrument}.
Every hour a bell rang {num} times.

On the left was a shelf, and on the shelf lay {a.thing}.
On the wall hung {a.thing} that nobody had touched for years.
Far at the back, {num} steps led down to the water.

@m2

In {season}, the {place} was full of people.
When the wind blew, the whole {place} seemed to hum.
In the evening light, the {place} turned {color}.

?
"I know every stone {at.place}," said {N}.
{N} had a corner {at.place} where nobody else ever sat.
The {hero} liked the {place} best when it was empty.

?
{He} once left {a.thing} there, and a year later it was still in its place.
{His} {kin} had come here too, when {khe} was small.
"The {place} never changes, but we do," said {his} {kin}.

@m3
@end
"""
