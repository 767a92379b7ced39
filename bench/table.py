"""Tables of text: one for each work, with our cost as a share of each rival's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench import figures, subjects, works
from bench.figures import Round, Spread


def render(title: str, rows: Sequence[Sequence[str]]) -> str:
    """Return *rows*, the headings first, in columns under *title*; names left, figures right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = [title]
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    lines.insert(2, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def work_table(work: works.Work, rounds: Sequence[Round], names: Mapping[str, str]) -> str:
    """Return the table of *work*: a row for each subject in *names*, key to name."""
    headings = [measure.heading for measure in work.measures]
    rows = [["", *headings, "errors", "dials", "proxyapp/it", "bar"]]
    ours = _cost(work, rounds, subjects.OURS)
    for key, name in names.items():
        played = figures.of_subject(rounds, work.name, key)
        spreads = [figures.spread(map(measure.of, played)) for measure in work.measures]
        share = "" if key == subjects.OURS else _share(ours, _cost(work, rounds, key))
        rows.append(
            [
                name,
                *(str(spread or "-") for spread in spreads),
                str(sum(each.errors for each in played)),
                str(sum(each.dialled for each in played)),
                share,
                verdict(share, work.bars.get(key)),
            ]
        )
    return render(work.name, rows)


def verdict(share: str, bar: float | None) -> str:
    """Return the bar and whether *share* passes it; nothing where there is no bar."""
    if bar is None:
        return ""
    if not share:
        return f"<= {bar:.2f}"
    return f"<= {bar:.2f} {'ok' if float(share) <= bar else 'MISSED'}"


def _cost(work: works.Work, rounds: Sequence[Round], key: str) -> Spread | None:
    """Return the spread of what *work* cost the subject *key*."""
    return figures.spread(map(work.cost.of, figures.of_subject(rounds, work.name, key)))


def _share(ours: Spread | None, theirs: Spread | None) -> str:
    """Return our median as a share of theirs, or nothing where one is missing."""
    if ours is None or theirs is None or not theirs.median:
        return ""
    return f"{ours.median / theirs.median:.2f}"
