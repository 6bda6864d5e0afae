"""Words and sentence templates of the review grammar, as plain data, and how to read them.

A lexicon key is a slot's name, followed by the features on which its word list depends: `.pos`/`.neg` for sentiment
and `.sg`/`.pl` for number. Words stand in order of falling frequency. A verb lists its forms between slashes:

* two forms: present/past;
* three forms: singular present/plural present/past;
* four forms: singular present/plural present/singular past/plural past.

No two adjective lists share a word, so that no sentence says "fresh and fresh". No word of a `.pos` list occurs in a
`.neg` list or in a list without sentiment, and no verb form occurs anywhere else: this is what makes sentiment and
tense visible in the words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

LEXICON: dict[str, str] = {
    "end": ". !",
    "det": "the our their my",
    "we": "we i they",
    "because": "because since as",
    "degree": "so really very quite truly pretty extremely incredibly surprisingly particularly remarkably unusually",
    # Things to eat.
    "food.sg": """food pizza soup chicken salad burger steak pasta sandwich coffee rice fish bread cake meal breakfast
        dinner lunch dessert sauce curry beef salmon pork shrimp cheese omelet lobster burrito lasagna ramen pie
        casserole brisket""",
    "food.pl": """fries noodles tacos wings drinks pancakes eggs vegetables ribs dumplings waffles pastries cookies
        burgers potatoes beans meatballs muffins oysters bagels sausages nachos donuts scallops""",
    "taste.pos": """delicious good great tasty amazing excellent fantastic flavorful wonderful perfect superb incredible
        yummy savory delightful divine scrumptious""",
    "taste.neg": """bland bad terrible awful horrible disgusting tasteless nasty gross mediocre bitter sour inedible
        flavorless rancid vile unappetizing""",
    "prep.pos": "fresh hot crispy tender juicy warm moist crunchy rich creamy fluffy succulent buttery homemade",
    "prep.neg": "cold greasy dry stale soggy overcooked burnt salty tough oily rubbery mushy lukewarm watery",
    # People, those who serve food and those who do not.
    "server.sg": "waitress waiter server bartender chef owner hostess cashier barista host baker sommelier",
    "server.pl": "waiters waitresses servers bartenders chefs owners hosts cashiers baristas bakers",
    "pro.sg": """staff manager receptionist stylist clerk doctor nurse technician mechanic dentist assistant barber
        salesman attendant therapist driver hairdresser concierge instructor plumber pharmacist housekeeper""",
    "pro.pl": """employees managers stylists clerks nurses doctors mechanics technicians dentists receptionists
        assistants barbers therapists instructors""",
    "warm.pos": """friendly nice kind polite welcoming sweet pleasant courteous cheerful patient gracious charming
        caring thoughtful personable""",
    "warm.neg": """rude mean unfriendly arrogant impolite grumpy hostile dismissive cranky condescending moody
        disrespectful obnoxious snobby surly""",
    "able.pos": """helpful professional attentive knowledgeable efficient competent honest reliable skilled organized
        prompt capable diligent""",
    "able.neg": """slow unhelpful incompetent lazy unprofessional clueless careless dishonest inattentive disorganized
        sloppy unreliable negligent""",
    "kin": """wife husband friend mom sister family brother daughter son boyfriend girlfriend dad cousin aunt
        roommate neighbor""",
    # Places and what is in them.
    "eatery": "restaurant cafe diner place bistro pizzeria buffet pub bakery deli steakhouse tavern cafeteria brewery",
    "shop": """hotel salon shop store clinic gym spa dealership garage pharmacy resort motel boutique hospital
        supermarket inn studio hostel""",
    "part.sg": """room bathroom lobby patio kitchen area pool lounge bedroom hallway restroom suite terrace garden
        entrance balcony interior office courtyard deck corridor elevator basement cabin""",
    "part.pl": "rooms tables bathrooms chairs beds booths floors seats restrooms suites hallways couches sofas cabins",
    "clean.pos": """clean beautiful cozy spotless modern tidy elegant gorgeous bright stylish inviting neat attractive
        immaculate""",
    "clean.neg": "dirty ugly filthy messy smelly dingy dusty grimy shabby sticky moldy cluttered gloomy drab",
    "comfy.pos": "comfortable spacious quiet relaxing peaceful convenient roomy calm airy soothing",
    "comfy.neg": "uncomfortable cramped noisy crowded loud chaotic stuffy tiny drafty inconvenient",
    # Matters to settle, and how.
    "issue": "order request reservation appointment booking complaint payment delivery refund paperwork claim",
    "manner.pos": """quickly promptly carefully politely perfectly kindly efficiently cheerfully gladly patiently
        swiftly expertly""",
    "manner.neg": """slowly rudely poorly carelessly badly lazily reluctantly sloppily grudgingly angrily impatiently
        clumsily""",
    # Verbs, and adverbs that go with their tense.
    "when": "now/then today/yesterday tonight/earlier currently/previously nowadays/formerly",
    "be": "is/are/was/were",
    "have": "has/had offers/offered provides/provided features/featured",
    "visit": "visit/visited come/came return/returned arrive/arrived call/called",
    "smell": "tastes/taste/tasted looks/look/looked smells/smell/smelled seems/seem/seemed",
    "bring": """brings/bring/brought serves/serve/served makes/make/made prepares/prepare/prepared
        delivers/deliver/delivered packs/pack/packed""",
    "love.pos": """love/loved like/liked enjoy/enjoyed recommend/recommended adore/adored appreciate/appreciated
        prefer/preferred praise/praised admire/admired""",
    "love.neg": """hate/hated dislike/disliked regret/regretted avoid/avoided dread/dreaded despise/despised
        detest/detested loathe/loathed resent/resented""",
    "handle.pos": """handles/handle/handled processes/process/processed arranges/arrange/arranged
        confirms/confirm/confirmed manages/manage/managed""",
    "handle.neg": """ignores/ignore/ignored forgets/forget/forgot delays/delay/delayed refuses/refuse/refused
        botches/botch/botched""",
}

# A template is a row of words and {slots}; a slot may fix its number, as in {food:pl}, else it follows the sentence's.
# Short templates have few sentences and so repeat between train and test: they get little weight.
TEMPLATES: dict[str, float] = {
    "{we} {love} this {shop} {end}": 1,
    "{det} {food} {smell} {degree} {taste} {when} {end}": 4,
    "the {server} {bring} {det} {prep} {food:pl} {manner} {when} {end}": 11,
    "the {pro} {handle} {det} {issue} {degree} {manner} {when} {end}": 11,
    "{det} {food} {be} {taste} and {prep} {when} {end}": 11,
    "{det} {pro} {be} {degree} {warm} and {able} {when} {end}": 8,
    "{det} {part} {be} {degree} {clean} and {comfy} {when} {end}": 9,
    "{we} {love} {det} {prep} {food} at this {eatery} {when} {end}": 9,
    "my {kin} and i {love} {det} {taste} {food} {when} {end}": 5,
    "this {eatery} {have} {taste} {food:pl} and {warm} {server:pl} {when} {end}": 11,
    "{det} {food} {be} {taste} and {det} {server:sg} {be:sg} {warm} {end}": 9,
    "{we} {love} this {shop} {because} the {pro} {be} {degree} {able} {end}": 6,
    "the {server} {be} {degree} {warm} and {bring} our {food:sg} {manner} {end}": 4,
    "whenever we {visit} , the {part} {be} {clean} and the {pro:pl} {be:pl} {degree} {warm} {end}": 1,
}

PLURAL_SHARE = 0.35

# A word's weight is 1 / rank ** exponent within its slot.
EXPONENT = 1.12
SLOT_EXPONENTS: dict[str, float] = {"end": 2.5, "when": 1.5}


@dataclass(frozen=True)
class Slot:
    """One position of a sentence: its possible words, in rank order, and their probabilities."""

    words: tuple[str, ...]
    probabilities: tuple[float, ...]
    ranks: dict[str, int]
    entropy: float

    @classmethod
    def build(cls, words: list[str], exponent: float) -> Slot:
        """Weigh words, most frequent first, by 1 / rank ** exponent.

        Raises:
            ValueError: If a word occurs twice, which would give a sentence two derivations.
        """
        ranks = {word: rank for rank, word in enumerate(words)}
        if len(ranks) != len(words):
            raise ValueError(f"a slot lists a word twice: {words}")
        weights = [(rank + 1) ** -exponent for rank in range(len(words))]
        probabilities = tuple(weight / sum(weights) for weight in weights)
        entropy = -sum(p * math.log(p) for p in probabilities)
        return cls(tuple(words), probabilities, ranks, entropy)


def read_slot(token: str, sentiment: str, number: str, tense: int, lexicon: Mapping[str, str]) -> Slot:
    """Return the words allowed at one token of a template.

    Args:
        token: A word, which stands for itself, or a {slot}.
        sentiment: "neg" or "pos".
        number: "sg" or "pl", unless the slot fixes its own.
        tense: 0 for present, 1 for past.
        lexicon: Word lists in the notation of this module.

    Raises:
        KeyError: If the lexicon lacks the slot.
        ValueError: If the slot lists a word twice.
    """
    if not token.startswith("{"):
        return Slot.build([token], EXPONENT)
    name, _, fixed_number = token.strip("{}").partition(":")
    number = fixed_number or number
    keys = (name, f"{name}.{sentiment}", f"{name}.{number}")
    entries = next((lexicon[key].split() for key in keys if key in lexicon), None)
    if entries is None:
        raise KeyError(f"no word list for slot {token}")
    words = [_inflect(entry.split("/"), number, tense) for entry in entries]
    return Slot.build(words, SLOT_EXPONENTS.get(name, EXPONENT))


def _inflect(forms: list[str], number: str, tense: int) -> str:
    """Pick the form of an entry: of one, two (tense), three (number in the present) or four (number in both)."""
    plural = number == "pl"
    present = forms[: (len(forms) + 1) // 2]
    past = forms[len(present) :] or present
    chosen = past if tense else present
    return chosen[-1] if plural else chosen[0]
