"""Images of products: line drawings in SVG, one motif for each category, in a colour of the product's own."""

import textwrap
from html import escape

from productagg.sandbox.assortment import Article
from productagg.sandbox.offers import draw

_LINE_LENGTH = 30
_MOST_LINES = 3

# Each is drawn in a box of 200 by 150.
_MOTIFS = {
    "Kitchen": "M55 60h80v45a20 20 0 0 1-20 20H75a20 20 0 0 1-20-20zM135 70h12a14 14 0 0 1 0 30h-12M75 45q-6-8 0-16"
    "M95 45q-6-8 0-16M115 45q-6-8 0-16",
    "Audio": "M45 95V85a55 55 0 0 1 110 0v10M45 90h14a6 6 0 0 1 6 6v28a6 6 0 0 1-6 6h-4a10 10 0 0 1-10-10z"
    "M155 90h-14a6 6 0 0 0-6 6v28a6 6 0 0 0 6 6h4a10 10 0 0 0 10-10z",
    "Computers": "M40 30h120a6 6 0 0 1 6 6v66a6 6 0 0 1-6 6H40a6 6 0 0 1-6-6V36a6 6 0 0 1 6-6zM100 108v20M70 128h60"
    "M50 50h50M50 64h70M50 78h36",
    "Cycling": "M55 125a28 28 0 1 1 0-56 28 28 0 0 1 0 56zM145 125a28 28 0 1 1 0-56 28 28 0 0 1 0 56zM55 97l25-45h50"
    "l15 45M80 52l22 45H55M102 97l28-45-6-16h14M72 44h18",
    "Garden": "M100 130V70M100 90q-32 0-38-34 34 0 38 34M100 78q4-38 42-40 0 36-42 40M60 130h80M72 130l6 12h44l6-12",
    "Workshop": "M48 48l14-14 20 20-14 14zM75 61l62 62a10 10 0 0 0 14-14L89 47M140 36a24 24 0 0 0-26 32l-54 54a10 10 0"
    " 0 0 14 14l54-54a24 24 0 0 0 32-26l-14 10-12-4-4-12z",
    "Books": "M100 50q-22-16-56-14v80q34-2 56 14 22-16 56-14V36q-34-2-56 14zM100 50v80M58 58q16 0 28 8M58 76q16 0 28 8"
    "M142 58q-16 0-28 8M142 76q-16 0-28 8",
    "Games": "M50 60l50-26 50 26v56l-50 26-50-26zM50 60l50 26 50-26M100 86v56M100 56v8M70 92v6M84 112v6M118 100v6"
    "M134 108v6",
    "Outdoors": "M100 32l64 96H36zM100 32v96M100 72l24 56M100 72l-24 56M28 128h144M100 32l-6-8M100 32l6-8",
    "Sports": "M100 130a48 48 0 1 1 0-96 48 48 0 0 1 0 96zM62 52q38 30 0 60M138 52q-38 30 0 60M100 34v96",
    "Photography": "M44 54h24l10-16h44l10 16h24a8 8 0 0 1 8 8v54a8 8 0 0 1-8 8H44a8 8 0 0 1-8-8V62a8 8 0 0 1 8-8z"
    "M100 114a27 27 0 1 1 0-54 27 27 0 0 1 0 54zM100 100a13 13 0 1 1 0-26M146 68h6",
    "Lighting": "M100 22v30M66 92q0-40 34-40t34 40zM88 92a12 12 0 0 0 24 0M60 116l-8 12M100 118v14M140 116l8 12",
}


def drawing(article: Article) -> str:
    """Return the product's drawing with its name, in SVG."""
    hue = draw(article.slug)[0] % 360
    motif = _MOTIFS[article.category.partition(" > ")[0]]
    lines = textwrap.wrap(article.name, _LINE_LENGTH, max_lines=_MOST_LINES, placeholder=" …")
    texts = "\n".join(
        f'<text x="240" y="{286 + 26 * number}">{escape(line)}</text>' for number, line in enumerate(lines)
    )
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 480 360" role="img">
<title>{escape(article.name)}</title>
<rect width="480" height="360" fill="hsl({hue} 45% 94%)"/>
<circle cx="240" cy="140" r="112" fill="hsl({hue} 50% 87%)"/>
<g transform="translate(90 28) scale(1.5)" fill="none" stroke="hsl({hue} 45% 32%)" stroke-width="3" \
stroke-linecap="round" stroke-linejoin="round"><path d="{motif}"/></g>
<g fill="hsl({hue} 45% 22%)" font-family="system-ui, sans-serif" font-size="20" text-anchor="middle">
{texts}
</g>
</svg>
"""
