"""Owns the plots about feelings and company: quarrels, friends, fears, contests, music, wishes, kindness."""

from __future__ import annotations

PLOTS = """
== quarrel
@open

{N} and {F}, {a.friend} from next door, both wanted the same {thing}.
{He} was playing with {a.friend} named {F}, and there was only one {thing}.
{N} and {a.friend} named {F} shared {a.color} {thing}.

@m1

"It is my turn with the {thing}!" shouted {F}.
"The {thing} is mine!" cried {N}.
{N} pulled on the left, and {F} pulled on the right.

Then they went home without a word.
{F} stamped {fhis} feet and ran away.
{N} turned {his} back, and so did {F}.

?
The next day the {hero} did not want to play alone.
Without {F}, the {thing} was no fun at all.
{N} looked at the {thing}, and it looked dull and gray.

@m2

So {N} knocked on the door of {F} and said that {he} was sorry.
{N} wrote a small note with one word on it, "sorry."
{He} brought {F} {a.food}, and {F} took it.

"I am sorry too," said {F}.
"I missed you more than the {thing}," said {F}.
{F} laughed and moved over to make room.

?
After that they took turns with the {thing}.
They put the {thing} in the middle, and both of them played.
From that day on, {N} had the {thing} on {weekday}, and {F} had it on all other days.

@m3
@end

== new_friend
@open

{N} did not know anybody there, for {he} was new {at.place}.
The {hero} had nobody to play with.
All the others played in groups, and {N} stood by {a.tree} tree.

@m1

Then {he} saw {a.friend} who was playing alone with {a.thing}.
Under {a.tree} tree sat {a.friend} with {a.color} {thing}.
Not far away, {a.friend} was trying to fix {a.thing}.

{N} felt shy, but {he} took one step, and then another.
{N} counted to {num} and walked over.
~

"Hello, my name is {N}," said {N}.
"May I see your {thing}?" asked {N}.
"What a fine {thing}!" said {N}.

@m2

"I am {F}, and you may sit with me," said the {friend}.
"My name is {F}," said the {friend}, and {fhe} moved over a little.
"I am {F}, and I was hoping that someone would ask," said the {friend}.

?
They played with the {thing} until the bell rang.
{F} showed {N} how to hold the {thing}.
They found out that both of them liked {pl.food} and the color {color}.

?
{N} shared {his} {food}, and {F} shared {fhis} {flower} tea.
"Shall we meet again on {weekday}?" asked {F}.
"Now I know somebody here," said {N}.

@m3
@end

== fear_overcome
@open

The {hero} was worried about one thing, and that was the dark cellar.
There was one thing that {N} did not dare to do, and that was to jump into deep water.
{N} did not dare to climb up high, not even on a chair.

@m1

One day {his} {color} {thing} fell exactly there.
But that day {a.critter} was stuck there and called for help.
"Will you come with me?" asked {F}, {a.friend} who was not worried at all.

?
{N} wanted to run away, and {his} legs felt like jelly.
{N} closed {his} eyes and thought of {his} {kin}.
{His} ears were hot, and {his} mouth was dry.

"You can be worried and brave at once," said {his} {kin}.
"Just take one small step," said {his} {kin}.
"I am right behind you," said {his} {kin}.

@m2

{He} took one step, then a second, then a third.
{N} counted backward from ten, and at zero {he} went.
Slowly, very slowly, the {hero} moved forward.

?
And nothing bad happened at all.
It was not half as bad as {he} had thought.
When it was done, {N} wanted to do it again.

"I did it!" shouted {N}.
{His} {kin} clapped, and the {hero} stood a little taller.
That day {N} learned that courage grows when it is used.

@m3
@end

== contest
@open

Every {season} there was a great race {at.place}, and the prize was {a.thing}.
There was a contest for the best {food}, and the winner would get {a.color} {thing}.
A sign said that the fastest runner would win {a.thing}.

@m1

?
{N} wanted that {thing} very much.
The {hero} practiced every day for {num} weeks.
"I will try my best," said {N}.

The best of all was {a.friend} named {F}, who had won {num} times.
Next to {him} stood {a.friend} named {F}, who looked very strong.
{A.friend} named {F} stretched and looked at the crowd.

The whistle blew, and off they went.
A bell rang, and everybody began at once.
"Ready, steady, go!" called the judge.

@m2

{N} was ahead when {he} heard a cry behind {him}.
But halfway through, {F} stumbled and fell.
Near the end, {F} slipped on some mud and could not get up.

{N} stopped, turned around and helped {F} up.
{N} thought of the {thing}, and then {he} went back to help.
The {hero} held out a hand, and {F} took it.

They came in last, but the crowd cheered for both of them.
{F} won in the end and gave the {thing} to {N}.
The judge cut the ribbon and gave one {thing} to each of them.

?
"Winning is good, but helping is better," said the judge.
"You are the real winner," said {F}.
The {thing} now stands on a shelf between their two houses.

@m3
@end

== music_lesson
@open

{N} wanted to learn to play the {instrument}.
In the window of a shop, {he} saw {a.color} {instrument}.
The {hero} had been given an old {instrument} by {his} {kin}.

@m1

{His} teacher was {F}, {a.friend} with very good ears.
{A.friend} named {F} gave lessons on {weekday}.
"I can teach you," said {F}, {a.friend} who played in a band.

The first note sounded like {a.critter} with a cold.
At first the {instrument} only squealed and groaned.
{N} played so badly that {his} {kin} closed all the windows.

?
"I will never learn this," said {N}.
{N} wanted to put the {instrument} away forever.
{N} pressed the wrong key {num} times in a row.

@m2

"One note a day is enough," said {F}.
{F} tapped the beat with {a.thing} and nodded.
"Listen first, and then play," said {F}.

So {N} practiced each evening, and slowly the notes became a tune.
Week by week, the {instrument} sounded better.
After {num} weeks, {N} could play a whole tune without a mistake.

?
At the concert {at.place}, everyone clapped for the {hero}.
People stopped in the street to listen to the {instrument}.
{His} {kin} opened all the windows again.

@m3
@end

== wish
@open

Behind a stone, {he} found {a.thing}, and a voice in it offered {him} one wish.
A tiny voice came out of {a.thing}. "You have one wish," it said.
{N} polished {a.thing}, and it began to glow and offered {him} one wish.

@m1

?
{N} thought of cakes, of castles and of a pony.
"I could wish for a mountain of {pl.food}," thought {N}.
The {hero} thought about it for {num} days.

Then {he} met {a.friend} named {F}, who had hurt {fhis} leg.
On the way home sat {a.friend} named {F}, cold and hungry.
{His} neighbor {F}, {a.friend} with a kind face, had been ill for weeks.

@m2

"I wish that {F} would be well again," said {N}.
So {N} closed {his} eyes and made a wish for {F}.
"My wish is for {F}," said {N}, without waiting any longer.

There was a flash of {color} light, and {F} stood up.
The {thing} hummed, and {F} jumped to {fhis} feet.
At once {F} felt warm and strong.

?
"You gave your only wish to me?" asked {F}.
{F} looked at {N} with wide eyes and brought {him} {a.flower}.
"Then I will share everything with you," said {F}.

{N} put the old {thing} on the windowsill, where it still stands.
The {thing} never spoke again, but {N} did not mind.
~

@m3
@end

== rescue
@open

Suddenly {he} heard a thin cry for help.
"Help me!" called a small voice from behind {a.tree} tree.
Something was moving between the leaves, and it was not a bird.

@m1

It was {a.friend} named {F}, who was stuck in the mud.
High above the ground hung {a.friend} named {F}, holding on to a branch.
There was {a.friend} named {F}, caught in a thick net.

"Hold on, I am coming!" called {N}.
The {hero} looked around and saw {a.thing}.
{N} had only {a.thing} with {him}, and so {he} used that.

?
The first try failed, because the {thing} was too short.
The wind pulled at the {thing}, and {N} nearly fell.
{N} pulled with all {his} might, but nothing moved.

@m2

Then {N} tied the {thing} to {a.tree} tree and tried again.
{N} asked {num} passing ducks to pull as well.
{He} pushed the {thing} under the branch and leaned on it.

With a loud pop, {F} came free.
One more pull, and {F} was safe on the grass.
A moment later, {F} was free and safe in {his} arms.

"You saved me," said {F}.
{F} shook off the dirt and bowed to {N}.
"How can I ever thank you?" asked {F}.

?
People {at.place} still talk about the {hero} and the {thing}.
From then on, {N} never left home without {a.thing}.
Since that day, {F} visits {N} every {weekday}.

@m3
@end

== helping_neighbor
@open

Next door lived {F}, {a.friend} who was very old.
{N} saw {a.friend} named {F}, who was carrying {num} heavy bags.
In the house across the road lived {a.friend} named {F}.

@m1

That {season}, {F} could not find {fhis} {thing} and could not go out.
Every morning {F} tried to sweep the path, but {fhis} back hurt.
{F} had {a.thing} that was much too heavy to carry.

"Let me help you," said {N}.
The {hero} put down {his} bag and went over at once.
{N} did not wait to be asked.

{He} carried the {thing}, swept the floor and fed {a.critter}.
First {he} cleaned the {thing}, and then {he} watered the {flower} in the window.
{N} worked for {num} hours, and {F} told stories.

@m2

?
"I have nothing to pay you with," said {F}.
"Why do you do this?" asked {F}.
{F} searched {fhis} pockets, but there was only a button.

?
"I like your stories," said {N}.
"That is what neighbors are for," said {N}.
"It is nothing," said {N}, and {he} turned a little pink.

The next day, there was {a.food} on the step for {N}.
A week later, {F} taught {N} how to whistle with a leaf.
And when {N} was ill that {season}, {F} came with hot soup.

@m3
@end

== fable
@open

{He} was proud of {his} {color} {thing} and showed it to everyone.
"Nobody is as fast as I am," said {N} each morning.
The {hero} thought that {he} never needed any help.

@m1

{A.friend} named {F} heard it and said nothing.
Only {F}, {a.friend} of few words, shook {fhis} head.
One day {he} met {a.friend} named {F}, who was slow and careful.

"Why do you carry that old {thing2}?" asked {N}.
"You are much too slow," said {N} to {F}.
{N} bragged for an hour, and {F} listened politely.

Then a storm came, and {a.tree} tree fell across the road.
That {season}, the river rose and took the bridge away.
On {weekday}, a big stone rolled down and blocked the way.

@m2

?
{N} ran to and fro, but {he} could not get past.
The {hero} pushed and pulled until {he} was tired.
All {his} boasting was of no use now.

Then {F} came, slowly, with {a.thing2}, and cleared the way.
{F} put {a.thing2} under it and lifted it a little, again and again.
"Let us do it together," said {F}, and soon the way was free.

?
From that day on, {N} spoke less and listened more.
"I was wrong about you," said {N}.
{N} bowed {his} head and thanked {F}.

The moral is that {virtue} is worth more than pride.
So remember that {virtue} wins where pride fails.
And that is how the {hero} learned about {virtue}.

@m3
@end

== robot_learns
@open

One day the teacher wrote a new word on the board, and the word was {virtue}.
{N} asked {his} {kin} a hard question about {virtue}.
In a book {N} read about {virtue}, but the word was new to {him}.

@m1

"I know {num} thousand words, but not that one," said {N}.
The {hero} looked for {virtue} in {his} {container}, but it was not there.
"Does it look like {a.thing}?" asked {N}.

?
First {he} asked {a.critter}, and the {critter} flew away.
First {he} asked the baker, who gave {him} {a.food}.
The {hero} looked it up, and the answer was {num} pages long.

Then {he} saw {a.friend} named {F}, who was giving {fhis} {thing} to a child.
That afternoon, {a.friend} named {F} waited for {him} in the cold without complaint.
Later, {a.friend} named {F} helped an old man across the road.

@m2

"Why did you do that?" asked {N}.
{N} watched closely and wrote it all down in {color} ink.
Something inside {him} went click.

?
"It costs nothing, and it makes the day warm," said {F}.
"You cannot see it, but you can do it," said {F}.
"Try it yourself," said {F}.

So {N} picked {a.flower} and gave it to {his} {kin}.
So {N} mended {a.thing} for a stranger and asked for nothing.
So {N} tried it, once in the morning and once at night.

"Now I know what {virtue} is," said {N}.
It was the best lesson that the {hero} had ever learned.
And {N} put the word {virtue} at the top of {his} list.

@m3
@end
"""
