"""How names and descriptions are compared by people: without case and accents. The same on every database.

The catalogue stores what comes of it, browsing searches it and sorts by it.
"""

import unicodedata

# What a sort needs of a name; an index entry holds no more than a third of a page, and folding can lengthen a name.
_SORTED_BY = 200


def fold(text: str) -> str:
    """The text without case, accents and other differences of presentation: 'Čaj' and 'ČAJ' are 'caj'."""
    decomposed = unicodedata.normalize("NFKD", text)
    # Each character is looked up once, however long the text is.
    for char in set(decomposed):
        if unicodedata.combining(char):
            decomposed = decomposed.replace(char, "")
    return decomposed.casefold()


def search_text(name: str, description: str) -> str:
    """What a product is found by. No word spans the two, for no word has white space."""
    return f"{fold(name)}\n{fold(description)}"


def sort_name(name: str) -> str:
    """By what products are sorted by name: 'apple', 'Banana', 'Čaj'."""
    return fold(name)[:_SORTED_BY]
