"""How the page of a report looks, in light and in dark."""

from __future__ import annotations

DRAWING = """
:root { color-scheme: light dark; --ink: #24292f; --faint: #57606a; --line: #d8dee4; --page: #f6f7f9; --card: #ffffff;
  --c0: #2563a8; --c1: #b8452c; --c2: #2e7d4f; --c3: #96690a; --c4: #6d4aa0; --c5: #0b7285; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --faint: #a2adb8; --line: #353c45; --page: #0d1117;
  --card: #161b22; --c0: #6cb0f5; --c1: #f2917a; --c2: #72cf97; --c3: #e3b94f; --c4: #c0a1f2; --c5: #58cfdf; } }
svg text { fill: var(--faint); } svg .grid { stroke: var(--line); }
svg polyline, svg path { fill: none; stroke-width: 2; stroke-linejoin: round; }
""" + "\n".join(
    f".c{n} {{ stroke: var(--c{n}); }} circle.c{n} {{ fill: var(--c{n}); stroke: none; }}" for n in range(6)
)
"""What charts need; a file with one alone has no more."""
_PAGE = """
:root { --a0: #5aa77a; --a1: #e0a545; --a2: #d9745c; --a3: #6f9fd0; --a4: #a98bd0; --a5: #58b0bd; --a6: #c98bb0;
  --a7: #9aa86a; --a8: #c2a080; --a9: #8f9bab; --a10: #b3595f; --a11: #4f7f8f; }
@media (prefers-color-scheme: dark) { :root { --a0: #3f8f62; --a1: #b5822c; --a2: #b4573f; --a3: #4f80b5; --a4: #8568b0;
  --a5: #3a909d; --a6: #a0668a; --a7: #74824a; --a8: #93765c; --a9: #6b7786; --a10: #93444a; --a11: #386472; } }
body { font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; color: var(--ink); background: var(--page);
  margin: 0; padding: 2em 1em 3em; }
main { max-width: 76em; margin: auto; }
h1 { font-size: 1.45em; font-weight: 650; margin: 0 0 .5em; overflow-wrap: anywhere; }
h2 { font-size: 1.12em; font-weight: 650; margin: 1.9em 0 .5em; overflow-wrap: anywhere; }
h3 { font-size: .95em; font-weight: 650; margin: .9em 0 .3em; overflow-wrap: anywhere; }
p { color: var(--faint); font-size: .88em; margin: .1em 0 .5em; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(25em, 100%), 1fr)); gap: 1em; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 9px; padding: .8em 1em; min-width: 0; }
section h3 { margin-top: 0; }
section svg { display: block; width: 100%; height: auto; font-size: 12px; }
ul { list-style: none; padding: 0; margin: 0 0 .4em; }
.legend { display: flex; flex-wrap: wrap; gap: .1em 1.1em; font-size: .84em; color: var(--faint); }
.legend li { overflow-wrap: anywhere; min-width: 0; }
.legend b { color: var(--ink); font-weight: 600; font-variant-numeric: tabular-nums; }
.legend i { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin-right: .4em; }
.legend svg.key { display: inline-block; width: 22px; height: 8px; margin-right: .4em; }
.told li { border-left: 3px solid var(--c3); padding: .1em .7em; margin: .5em 0; overflow-wrap: anywhere; }
.wide { overflow-x: auto; margin-bottom: 1em; }
table { border-collapse: collapse; font-size: .88em; }
th { font-weight: 600; text-align: left; color: var(--faint); border-bottom: 1.5px solid var(--ink); }
th, td { padding: .3em 1.1em .3em 0; vertical-align: top; }
td { border-bottom: 1px solid var(--line); font-variant-numeric: tabular-nums; overflow-wrap: anywhere;
  max-width: 26em; }
.wide td { min-width: 6.5em; }
section table { width: 100%; } section td:nth-child(2) { text-align: right; } section td:last-child { width: 40%; }
.bar { display: block; height: .8em; background: var(--line); border-radius: 3px; overflow: hidden; margin-top: .3em; }
.bar i { display: block; height: 100%; background: var(--c0); }
details { border-top: 1px solid var(--line); padding: .4em 0; }
summary { cursor: pointer; }
dl { display: grid; grid-template-columns: minmax(6em, 14em) 1fr; gap: .2em 1em; margin: .7em 0 1em; font-size: .9em; }
dt { color: var(--faint); overflow-wrap: anywhere; } dt b { color: var(--ink); }
dd { margin: 0; min-width: 0; }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: isolate;
  font: 13px/1.45 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.log { font-size: 12px; }
.why { color: var(--faint); overflow-wrap: anywhere; }
@media (max-width: 34em) { dl { grid-template-columns: 1fr; } dd { margin-bottom: .4em; } }
@media print { * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
""" + "\n".join(f".a{n} {{ fill: var(--a{n}); background: var(--a{n}); }}" for n in range(12))
STYLE = f"{DRAWING}{_PAGE}"
