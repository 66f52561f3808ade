"""Owns what all plots share: openings, the sentences that carry a mood, and endings."""

from __future__ import annotations

OPENINGS = """
Once upon a time, there was {a.size} {hero} named {N}. {He} lived near the {place}.
Once upon a time, {a.trait} {hero} named {N} lived near the {place}.
There once was {a.trait} {hero} whose name was {N}, and {he} lived not far from the {place}.
{Day}, {a.size} {hero} named {N} was {at.place}.
{Day}, {a.trait} {hero} named {N} walked to the {place}.
{N} was {a.size} {hero} who spent every {weekday} {at.place}.
{N} was {a.trait} {hero} who lived beside the {place}.
Not long ago, {a.size} {hero} called {N} came to the {place}.
This is the story of {a.trait} {hero} named {N}. It began {at.place}.
Everyone {at.place} knew {N}, {a.trait} {hero} with bright eyes.
{At.place} lived {a.size} {hero} named {N}.
In a small house near the {place} lived {a.trait} {hero} called {N}.
{A.trait} {hero} named {N} woke up early. {He} wanted to spend the whole day {at.place}.
It was {weekday}, and {a.size} {hero} named {N} was {at.place} again.
{Day}, {a.size} {hero} called {N} put on {his} best hat and went to the {place}.
Every {season}, {a.trait} {hero} named {N} came to the {place}.
"""

MOOD_FIRST = {
    "happy": """
{N} was happy, and {he} was glad to be there.
It was a happy day, full of joy from start to end.
The {hero} hummed a cheerful tune, because {he} felt so happy.
{He} was a joyful {hero}, and even the birds seemed glad to see {him}.
"What a happy day!" said {N}.
There was joy in every step that {N} took, and {he} was happy.
""",
    "sad": """
{N} felt sad that day, and {he} did not know why.
It was a sad, gray day, and the {hero} was lonely.
There were tears in {his} eyes, for {N} was lonely.
The {hero} walked slowly and sadly, with {his} head down.
"I am so sad today," said {N}.
The {hero} wept quietly, and nobody saw {his} tears.
""",
    "funny": """
{N} was a funny {hero} who could never resist a joke.
The {hero} wore two silly socks that did not match, and it looked very funny.
It was a silly day from the start, for {N} had put {his} hat on upside down.
Everybody said {N} was the most clumsy and goofy {hero} in the world.
{N} giggled, because {his} shoes were on the wrong feet and looked silly.
Everything that the {hero} did was a little clumsy and very funny.
""",
    "scary": """
The shadows looked scary, and {N} was a little afraid.
It was a spooky day, and the {hero} trembled at every sound.
A creepy fog crept over the ground, and {N} felt scared.
Something about the silence made {N} frightened, and {his} knees trembled.
"This place is scary," said {N}.
It was so dark and spooky that the {hero} was afraid to whistle.
""",
    "calm": """
It was a calm day, and everything was peaceful.
The air was hushed, and {N} felt calm.
The {hero} sat calmly for a while and enjoyed the peace.
A peaceful breeze moved the leaves, and {N} breathed calmly.
"How peaceful it is here," said {N}.
The {hero} liked calm days, and this was a calm one.
""",
    "exciting": """
It was an exciting day, and {N} was ready for an adventure.
The {hero} was so excited that {he} could hardly stand still.
{N} felt a thrill, for {he} knew that an adventure was near.
{His} heart beat fast, because something exciting was about to begin.
"This will be an adventure!" said {N}.
The {hero} could feel the thrill of an exciting day.
""",
    "magical": """
It was a magical day, and the air sparkled.
People said that there was magic in the air, and {N} believed in magic.
The light was wondrous, as if an old spell lay on everything.
To the {hero}, the whole world looked enchanted and magical.
"I feel magic everywhere," said {N}.
A ring of light sparkled in the air, like the start of a spell.
""",
    "mysterious": """
It was a mysterious day, and a strange mist hung in the air.
{N} loved a good mystery, and the {hero} could keep a secret.
Something strange was going on, and {N} wanted to solve the riddle.
There was a secret in the air, as puzzling as a riddle.
"How strange," said {N}.
There was a mysterious light in the distance, and {N} wondered about its secret.
""",
}

MOOD_MIDDLE = {
    "happy": """
{N} was so happy that {he} skipped.
The {hero} felt a warm joy in {his} heart.
{N} smiled a cheerful smile.
"I am so glad," said {N}.
""",
    "sad": """
{N} wiped away {his} tears.
The {hero} was lonely and wept a little.
A great sadness came over {N}.
"I feel so lonely," said {N}.
""",
    "funny": """
{N} made such a silly face that a passing bird stopped to stare.
The {hero} tripped over {his} own feet in a very funny way.
Then {N} told a joke about a cow on a bicycle.
"That looks silly," said {N}.
""",
    "scary": """
{N} trembled and looked behind {him}.
The {hero} was so scared that {he} held {his} breath.
A creepy shadow moved along the wall.
"I am a little scared," said {N}.
""",
    "calm": """
{N} took a deep breath and stayed calm.
The {hero} waited calmly, without any hurry.
All around, the world was peaceful and slow.
"There is no hurry," said {N} calmly.
""",
    "exciting": """
{N} was breathless, but {he} did not stop.
What an exciting moment it was for the {hero}!
It was the most thrilling thing that {N} had ever done.
"How exciting!" cried {N}.
""",
    "magical": """
Something in the air sparkled like magic.
For a moment the {hero} felt enchanted.
{N} whispered a spell, just to see what would happen.
"It must be magic," said {N}.
""",
    "mysterious": """
It was all very puzzling for {N}.
The {hero} looked for clues, because it was a mystery.
{N} had a strange feeling that someone was watching.
"It is a riddle," said {N}.
""",
}

MOOD_LAST = {
    "happy": """
{N} had never felt so happy.
The {hero} was delighted, and everyone was happy for {him}.
All the way home, {N} whistled happily.
It had been a joyful day, and {N} was glad.
"I am the happy one today," said {N}.
The {hero} went home with a joyful heart.
""",
    "sad": """
{N} was still a little sad when {he} thought about it.
The {hero} smiled through {his} tears.
Some days are sad, and {N} knew that this was one of them.
There was sorrow in {his} heart, but also a little hope.
{N} dried {his} tears and looked at the sky.
The {hero} was sad for a while, and that was all right.
""",
    "funny": """
{N} giggled until {his} tummy hurt.
It was such a silly day that the {hero} wished for another one just like it.
Even the oldest crow in the tree had to giggle, for it was so funny.
For weeks {N} told it as a joke to everyone {he} met.
"How silly we were!" said {N}.
It was so funny that the {hero} had to hold on to a chair.
""",
    "scary": """
It had been a scary day, but {N} was safe now.
The {hero} was no longer afraid, but {he} still trembled a little.
{N} would never forget that spooky day.
Even when it was over, {N} felt a little frightened.
"I was so frightened!" said {N}.
The {hero} looked back once more, and the place was spooky no longer.
""",
    "calm": """
{N} felt calm and quiet inside.
Peace came over the {hero} like a soft blanket.
Everything was peaceful again, and {N} rested.
It was a calm end to a calm day.
"Now everything is peaceful," said {N}.
The {hero} walked slowly and calmly, and the world was hushed.
""",
    "exciting": """
What an exciting adventure it had been!
{N} was still excited, and {he} talked about it for hours.
The {hero} could not wait for the next adventure.
No other day had ever been such a thrill for {N}.
"That was the most exciting day of my life!" said {N}.
The {hero} was breathless and as proud as could be.
""",
    "magical": """
It was a little bit of magic, and {N} knew it.
Everything around the {hero} sparkled and shone.
{N} would always remember that wondrous, magical day.
Perhaps there was an enchanted heart in the {hero} after all.
"That was real magic," said {N}.
The {hero} kept a little of the magic in {his} heart.
""",
    "mysterious": """
It stayed a mystery, and {N} liked it that way.
The {hero} kept the secret for many years.
To this day, nobody knows the answer to that strange riddle.
{N} thought about that mysterious day for a long time.
"Some things stay a mystery," said {N}.
The {hero} wrote it all down in a secret notebook.
""",
}

ENDINGS = {
    "rain": """
Then the rain began to fall, and {N} listened to it on the roof.
Outside, the rain came down softly, and the {hero} watched it from the window.
A moment later, the first raindrops fell, and {N} ran inside.
In the end it started to rain, and {N} stood in it and did not mind at all.
""",
    "hug": """
In the end, {N} got a big, warm hug.
The day ended with a hug, and that was all the {hero} needed.
{N} opened {his} arms, and everyone came in for a hug.
Then {he} hugged everyone, one after the other.
""",
    "song": """
That evening {N} made up a song about it and sang it to the whole family.
Then everyone sang a song, and {N} sang the loudest.
As the light faded, the {hero} sang a soft old song.
They ended the day with a song, and {N} knew every word.
""",
    "feast": """
That night there was a great feast, with soup and bread and honey for everyone.
They ended the day with a feast, and {N} ate two bowls of everything.
The {hero} was invited to a feast, and the table was as long as a ship.
Soon the smell of a feast filled the air, and {N} sat down to eat.
""",
    "rainbow": """
Just then, a rainbow appeared, and {N} pointed at it.
When {he} looked up, there was a rainbow from one end of the sky to the other.
The last thing the {hero} saw that day was a bright rainbow.
A rainbow stood over the {place}, and {N} counted its colors.
""",
    "sleep": """
That night, {N} fell asleep before {he} could count to three.
The {hero} closed {his} eyes and was soon asleep.
{N} curled up under a warm blanket and went to sleep.
Then it was time to sleep, and {N} dreamed about it all night.
""",
    "surprise": """
But when {N} came home, there was a big surprise behind the door.
At the very end there was a surprise, for somebody had left a cake for {N}.
Then came a surprise that the {hero} had not expected at all.
"What a surprise!" said {N}.
""",
    "promise": """
{N} made a promise to come back to the {place} soon.
"I promise to remember this day," said {N}.
The {hero} promised to tell the story to everyone at home.
In the end, {N} made a promise, and {he} kept it.
""",
    "laughter": """
The whole {place} rang with laughter.
Then everyone laughed, and {N} laughed the loudest of all.
The day ended with laughter, and the {hero} had never heard a better sound.
{N} laughed so hard that {he} had to sit down.
""",
    "snow": """
That night the snow began to fall, and in the morning the {place} was white.
Snow covered the path home, and {N} left small footprints in it.
Then the first snowflakes came down, and the {hero} caught one on {his} nose.
{N} stood by the window and watched the snow.
""",
    "stars": """
Later, {N} lay on the grass and counted the stars.
When night came, the stars came out over the {place}.
The {hero} looked up at the stars, and the stars looked back.
{N} said good night to the stars, one by one.
""",
    "dance": """
Then somebody began to play, and {N} did a little dance.
The {hero} danced all the way home.
They all joined in a dance, round and round, until {N} was dizzy.
{N} danced until {his} feet were tired.
""",
    "gift": """
At the end of the day, {N} was given a small gift with a ribbon on it.
The {hero} found a gift on {his} pillow that night.
Before {he} left, {N} gave everyone a small gift.
{N} wrapped up a gift and left it where it would be found.
""",
    "sunset": """
Then {N} sat down and watched the sunset.
The sunset painted the {place} gold, and {N} walked home.
It was a beautiful sunset, and the {hero} stayed until the very end.
The day ended with a red sunset.
""",
    "party": """
That evening there was a party, and {N} stayed up late.
The {hero} gave a party, and the whole neighborhood came.
They hung up paper lanterns and had a party {at.place}.
There was a party in the evening, with games and lemonade for {N}.
""",
    "moon": """
The moon rose over the {place}, round and bright.
{N} walked home by the light of the moon.
The {hero} waved at the moon, and it seemed to wink.
That night the moon shone through the window, right onto {his} bed.
""",
    "tea": """
At last {N} sat down with a hot cup of tea.
They drank tea together, and {N} put in too much honey.
The {hero} made a pot of tea and put up {his} feet.
There was warm tea for everyone that evening.
""",
    "goodbye": """
Then it was time to say goodbye, and {N} waved for a long time.
"Goodbye, and come back soon!" called {N}.
The {hero} said goodbye to the {place} and went home.
{N} whispered goodbye and closed the gate behind {him}.
""",
    "picnic": """
They spread a cloth on the ground and had a picnic.
The day ended with a picnic, and {N} brought the lemonade.
The {hero} unpacked a picnic {at.place}, and there was enough for everyone.
{N} invited everybody to a picnic with {pl.food} and cheese.
""",
}
