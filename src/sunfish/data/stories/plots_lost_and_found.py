"""Owns the plots about things: lost, found, given, mended, built, traded and shared."""

from __future__ import annotations

PLOTS = """
== lost_thing
@open

{N} had {a.color} {thing}, and {he} took it everywhere.
The {hero} owned {a.color} {thing} that {his} {kin} had made for {him}.
{His} best treasure was {a.color} {thing}.

@m1

But when {he} looked in {his} {container}, the {thing} was gone.
Around noon, {N} noticed that the {thing} was missing.
Then a gust of wind came, and suddenly the {thing} was nowhere to be seen.

"Where is my {thing}?" asked {N}.
"I had my {thing} this morning," said {N}.
"Has anyone seen {a.color} {thing}?" asked {N}.

?
{He} looked under the bench, behind the door and between the stones.
{He} searched high and low for the {thing}, but {he} found only {a.food}.
{N} asked {a.critter}, but the {critter} had seen nothing.

@m2

{A.friend} named {F} offered to help. "Let us look {at.place} once more," said {F}.
Then {a.friend} named {F} came by and saw that {N} was worried.
A neighbor, {a.friend} named {F}, had an idea. "Follow the footprints," said {F}.

At last they found the {thing} under {a.tree} tree.
There was the {thing}, high up in {a.tree} tree, and {F} helped to bring it down.
{F} lifted a pile of leaves, and there lay the {color} {thing}.

?
{N} thanked {F} and held the {thing} tight.
"Thank you for finding my {thing}," said {N}.
From then on, {N} tied the {thing} to {his} belt with a string.

@m3
@end

== found_thing
@open

Near the path {he} found {a.thing}, and it was not {his} own.
There, half hidden in the grass, lay {a.color} {thing}.
On the ground {N} saw {a.thing} with a name on it.

@m1

?
"Somebody must miss this {thing}," said {N}.
"I would like to keep this {thing}," thought {N}.
The {hero} picked up the {thing} and cleaned it.

{He} put the {thing} in {his} bag and asked at every door.
{N} carried the {thing} carefully and called out.
{N} painted a sign that said, "Found, one {thing}."

{A.critter} looked at it, but the {critter} shook its head.
The first person to come by wanted the {thing}, but could not say its color.
~

@m2

At last {a.friend} named {F} came running. "That is my {thing}!" cried {F}.
Then {N} met {a.friend} named {F}, who was looking for something in the grass.
Behind the last door lived {a.friend} named {F}, who jumped up at once.

{N} took the {thing} out of {his} bag and gave it to {F}.
{N} gave the {thing} back, although it was hard to do.
{F} took the {thing} and could not stop saying thank you.

?
"You are an honest {hero}," said {F}.
To say thank you, {F} gave {N} {a.food}.
"Come and visit me any time," said {F}.

@m3
@end

== broken_repaired
@open

{N} loved {his} {color} {thing} more than anything.
The {hero} was carrying {a.thing} that belonged to {his} {kin}.
{He} had {a.thing} that was older than {his} {kin}.

@m1

Crack! The {thing} fell on the ground and broke in {num} pieces.
But {he} slipped, and the {thing} broke.
One day the {thing} simply stopped working.

"Oh no, what have I done?" asked {N}.
"It was an accident," said {N} in a small voice.
{He} wanted to hide the pieces, but that did not feel right.

So {he} took the {thing} to {his} {kin} and told {khim} the truth.
{N} gathered all the pieces and carried them to {a.friend} named {F}.

@m2

?
They found some glue, a little wire and a lot of time.
First they cleaned every piece of the {thing}, and then they glued it together.
They worked on the {thing} all afternoon with a tiny screwdriver.

In the evening the {thing} was whole again, with one thin line to show where it had been broken.
It was not perfect, but the {thing} worked again.
The {thing} was even better than before, because now it had a story.

?
"Broken things can be mended," said {his} {kin}.
{N} put the {thing} back in its place, very carefully.
"Next time I will be more careful," said {N}.

@m3
@end

== building
@open

{N} wanted to build something new, a {thing} unlike any other.
The {hero} had a plan to build the biggest {thing} in the world.
"I am going to build {a.thing} all by myself," said {N}.

@m1

{He} gathered nails, string and a heap of {material}.
{He} drew {a.thing} on paper and measured everything {num} times.
{N} found some {material} and {num} old boards behind the {place}.

The first {thing} fell over with a crash.
The first try looked more like {a.food} than {a.thing}.
But the {thing} was crooked, and one side was much too long.

{A.friend} named {F} stopped to watch. "May I hold the other end?" asked {F}.
"You need a friend for that," said {a.friend} named {F}.
Then {a.friend} named {F} brought a better hammer and some tea.

@m2

?
Together {N} and {F} started again, slowly this time.
{F} held the {material}, and {N} hit the nails.
{N} measured, {F} sawed, and the dust flew everywhere.

When the {thing} was ready, they painted it {color}.
By evening the {color} {thing} stood there, straight and strong.
At last the {thing} was finished, and everybody came to admire it.

?
"We built this {thing} together," said {N}.
"Two heads are better than one," said {F}.
They wrote both names, {N} and {F}, on the bottom of the {thing}.

@m3
@end

== sharing
@open

{N} had one {food}, and it was the last one.
The {hero} had packed one big {food} for lunch.
{He} had {a.food} in {his} bag, and {he} was looking forward to it.

@m1

Just then {a.friend} named {F} sat down on the same bench.
Not far away sat {a.friend} named {F}, who had nothing to eat.
{A.friend} named {F} came by and looked at the {food}.

"I have not eaten since yesterday," said {F}.
{F} did not say a word, but {fhis} stomach growled.
"That {food} smells wonderful," said {F}.

{N} looked at the {food}, and then at {F}.
It was a small {food}, and {N} was hungry too.
~

@m2

Then {N} broke the {food} into two halves and gave one to {F}.
"Half of it is for you," said {N}, and {he} cut the {food} in two.
{N} smiled and put the bigger half in front of {F}.

?
They ate slowly, and it tasted better than a whole {food}.
{F} ate every crumb and licked the plate.
In return, {F} showed {N} {a.thing} and let {him} play with it.

?
"A shared {food} tastes twice as good," said {F}.
The next day {F} came back with a basket full of {pl.food}.
After that, {N} and {F} had lunch together every {weekday}.

@m3
@end

== trade_at_market
@open

{N} carried {a.thing} to the market and hoped to trade it.
{He} brought {a.color} {thing} and hoped to sell it for {num} coins.
The {hero} needed {a.thing2}, but {he} had only {a.thing}.

@m1

?
There were stalls with cheese, ribbons, pots and {pl.food}.
The market was loud, and it smelled of fish and fresh bread.
Sellers shouted, bells rang, and a goose ran between the tables.

"I will give you a cabbage for that {thing}," said an old man.
"That {thing} is worth nothing," said a woman with a big hat.
A boy offered {num} buttons for the {thing}, but {N} said no.

@m2

At the last stall stood {a.friend} named {F} with {a.thing2}.
Then {he} met {a.friend} named {F}, who was selling {a.thing2}.
{A.friend} named {F} held up {a.thing2} and smiled.

"Shall we trade, your {thing} for my {thing2}?" asked {F}.
{N} looked at the {thing2} for a long time and nodded.
They shook on it, the {thing} for the {thing2}.

?
{N} gave the {thing} to {F} and took the {thing2} home.
{N} walked away with the {thing2} under {his} arm.
So {F} got the {thing}, and {N} got the {thing2}, and both had a good day.

@m3
@end

== birthday
@open

It was {his} birthday, and {N} hoped for {a.thing}.
Today {N} was {num} years old, and all {he} wanted was {a.thing}.
It was the birthday of the {hero}, and {he} dreamed of {a.color} {thing}.

@m1

But at breakfast nobody said a word about it.
All morning, nobody sang and nobody called.
{His} {kin} only asked {him} to fetch some water.

?
"Maybe they forgot my birthday," thought {N}.
{N} sat down on the steps and waited.
~

@m2

In the afternoon {a.friend} named {F} led {him} around the corner, and there stood all {his} friends.
Then {a.friend} named {F} took {N} to the {place}, where candles were burning.
Behind a big tree, {a.friend} named {F} was hanging up balloons for {him}.

?
There was a cake with {num} candles and {color} icing.
{F} had baked a cake shaped like {a.critter}.
{N} blew out all {num} candles with one breath.

In a box with {a.color} bow was {a.thing}.
{His} {kin} gave {him} a parcel, and in the parcel was the {thing}.
"This {thing} is for you," said {his} {kin}.

?
"It is the best {thing} in the world," said {N}.
{N} played with the {thing} until it was dark.
{N} let every guest try the {thing} once.

@m3
@end

== letter
@open

One {weekday}, a letter came for {N} in {a.color} envelope.
The mail brought a letter, and {his} name was on it.
{N} found a letter between the pages of an old book.

@m1

?
{He} opened it with {a.thing} and read it {num} times.
{N} sat down under {a.tree} tree and began to read.
It was written with {color} ink, in very small letters.

"Please come and see me," it said, and it was signed by {F}, {a.friend} from far away.
It was from {F}, {a.friend} who had moved away last {season}.
"Do you remember me?" wrote {F}, {a.friend} from long ago.

@m2

{N} took a pen and wrote a long answer.
The {hero} wrote back at once and drew {a.flower} at the bottom.
{N} wrote about the {place}, about the weather and about {his} {kin}.

{He} packed {a.thing} for {F} and tied it with string.
{He} put a leaf from the {tree} tree into the envelope.
~

Nine days later, there was a knock at the door, and there stood {F}.
A week later, {F} came to visit, and they talked until midnight.
The answer came quickly, and soon {N} and {F} wrote every {weekday}.

?
"A letter is a hand that reaches far," said {F}.
{N} keeps the letter in {his} {container} to this day.
"I read your letter every night," said {F}.

@m3
@end

== promise_kept
@open

{N} had borrowed {a.thing} from {a.friend} named {F}.
{A.friend} named {F} had lent {N} {a.color} {thing}.
"You may take my {thing}, but bring it back on {weekday}," said {F}, {a.friend} from next door.

@m1

?
"I give you my word," said {N}.
{N} nodded and put the {thing} in {his} {container}.
{N} wrote it down, so that {he} would not forget.

On {weekday} a strong wind blew, and the bridge was closed.
But when the day came, the road was full of mud.
On that day, {his} friends asked {N} to come and play.

"I gave my word," said {N}.
{He} could have waited, but the {thing} was not {his} own.
~

@m2

So {N} took the {thing} and walked the long way, past the {place}.
{N} put on {his} boots and carried the {thing} through the mud.
{He} wrapped the {thing} in a cloth and set off.

When {F} opened the door, {N} held out the {thing}.
{F} was waiting at the window and saw {N} coming with the {thing}.
Wet and tired, {N} gave the {thing} back to {F}.

?
"I knew that I could trust you," said {F}.
"A word is a word," said {N}.
{F} looked at the {thing} and then let {N} keep it for another week.

@m3
@end

== old_attic_map
@open

In an old {container}, {N} found a map with {a.color} cross on it.
One day {he} found a map behind a loose board.
The {hero} had an old map, and nobody knew where it led.

@m1

The map showed the {place}, {a.tree} tree and a long dotted line.
"Walk {num} steps from the {tree} tree and dig," said the map.
The line on the map began {at.place}.

{N} took a shovel and called {his} friend {F}, {a.friend} who loved to dig.
{A.friend} named {F} joined {him} with a shovel.
{F}, {a.friend} with strong arms, came along to help.

@m2

?
They counted {num} steps from the {tree} tree, and then they dug.
They dug until the sun was low and their backs hurt.
{N} dug on the left, and {F} dug on the right.

Clonk! The shovel hit a chest, and in the chest was {a.thing}.
At last they pulled up a box, and in it lay {a.color} {thing}.
Deep in the earth they found {a.thing}, wrapped in cloth.

?
"Our treasure is {a.thing}!" said {F}.
{N} held up the {thing}, and it shone in the light.
It was no gold, only {a.thing}, but {N} and {F} loved it.

They gave the {thing} to the museum, with both names under it.
Since then the {thing} stands on a shelf, and the map hangs over it.
They buried the map again, for the next {hero} to find.

@m3
@end
"""
