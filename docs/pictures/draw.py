r"""Draws the pictures of the documentation: python docs/pictures/draw.py"""

from itertools import pairwise
from pathlib import Path

VISIBLE, LATENT, GREY = "#4c8bd6", "#e8833a", "#8a8f98"
HERE = Path(__file__).parent
Place = tuple[float, float]


def line(a: Place, b: Place, width: float) -> str:
    return f'<path d="M{a[0]:.0f} {a[1]:.0f}L{b[0]:.0f} {b[1]:.0f}" stroke-width="{width:.1f}"/>'


def dot(at: Place, radius: float, color: str) -> str:
    return f'<circle cx="{at[0]:.0f}" cy="{at[1]:.0f}" r="{radius}" fill="{color}"/>'


def text(at: Place, words: str, size: int = 19, color: str = GREY) -> str:
    return f'<text x="{at[0]:.0f}" y="{at[1]:.0f}" font-size="{size}" fill="{color}">{words}</text>'


def svg(name: str, width: int, height: int, title: str, edges: list[str], rest: list[str]) -> None:
    body = "\n".join(
        [f'<g stroke="{GREY}" stroke-opacity="0.55" fill="none">', *edges, "</g>", *rest]
    )
    HERE.joinpath(name).write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'font-family="sans-serif" text-anchor="middle"><title>{title}</title>\n{body}\n</svg>\n'
    )


def weight(i: int, k: int, n: int, d: int) -> float:
    r"""Line width of an edge: visible nodes prefer the latent node that lies across."""
    return 0.4 + 2.6 * max(0.0, 1 - abs(i / (n - 1) - (k + 0.5) / d) * d / 1.5)


def graph() -> None:
    n, d = 9, 3
    left = [(70.0, 40.0 + 26 * i) for i in range(n)]
    right = [(650.0, y) for _, y in left]
    latent = [(290.0, 64.0 + 80 * k) for k in range(d)]
    mixed = [(430.0, y) for _, y in latent]
    edges = [line(left[i], latent[k], weight(i, k, n, d)) for i in range(n) for k in range(d)]
    edges += [line(z, m, 1.6) for z in latent for m in mixed]
    edges += [line(mixed[k], right[i], weight(i, k, n, d)) for i in range(n) for k in range(d)]
    nodes = [dot(p, 8, VISIBLE) for p in left + right] + [
        dot(p, 13, LATENT) for p in latent + mixed
    ]
    labels = [
        text((70, 290), "N visible nodes", color=VISIBLE),
        text((360, 290), "d latent nodes", color=LATENT),
        text((650, 290), "N visible nodes", color=VISIBLE),
        text((180, 24), "1. Z = Pᵀ X W"),
        text((360, 24), "2. Z′ = F Z"),
        text((540, 24), "3. Y = S Z′"),
    ]
    svg("graph.svg", 720, 310, "Visible nodes, latent nodes, visible nodes", edges, nodes + labels)


def blocks() -> None:
    # name, how it joins, latent nodes, whether edge weights differ, whether latents are mixed
    rows = [
        ("SqueezeExcitation", "× gate", 1, False, True),
        ("SimplifiedNonLocal", "+", 1, True, True),
        ("GlobalContext", "+ and/or × gate", 1, True, True),
        ("LatentGNN", "+ γ ·", 3, True, True),
        ("NonLocal", "+", 6, True, False),
    ]
    n, step = 6, 190
    edges, rest = [], []
    for column, (name, join, d, weighted, mixed) in enumerate(rows):
        middle = column * step + step / 2
        top = [(middle - 70 + 28.0 * i, 60.0) for i in range(n)]
        bottom = [(x, 230.0) for x, _ in top]
        latent = [(middle + (k - (d - 1) / 2) * (44 if d < n else 28), 145.0) for k in range(d)]
        for i in range(n):
            for k in range(d):
                width = [2.6, 0.8, 1.6, 3.2, 0.5, 1.2][i] if d == 1 else weight(i, k, n, d)
                edges.append(line(top[i], latent[k], width if weighted else 1.2))
                if name == "LatentGNN":
                    edges.append(line(latent[k], bottom[i], width))
                elif d == 1 or i == k:
                    edges.append(line(latent[k], bottom[i], 1.2))
        if mixed and d > 1:
            edges += [line(a, b, 2.0) for a, b in pairwise(latent)]
        rest += [dot(p, 6, VISIBLE) for p in top + bottom]
        rest += [dot(p, 10 if d < n else 7, LATENT) for p in latent]
        rest += [text((middle, 30), name, 19), text((middle, 266), join, 17)]
    svg("blocks.svg", 5 * step, 280, "The five blocks as graphs", edges, rest)


if __name__ == "__main__":
    graph()
    blocks()
