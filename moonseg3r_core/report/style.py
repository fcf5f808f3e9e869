"""The style sheet of the report: no script, no external font."""

CSS = """
:root { --ink: #2b2f36; --faint: #6b7280; --line: #e4e6ea; --paper: #ffffff; --ground: #f5f6f8; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
       font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 1200px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 26px; font-weight: 650; margin: 0; letter-spacing: -0.01em; }
h2 { font-size: 17px; font-weight: 650; margin: 0 0 4px; }
p.note { color: var(--faint); margin: 0 0 16px; max-width: 78ch; }
header p { color: var(--faint); margin: 4px 0 20px; overflow-wrap: anywhere; }
section, .figures > div { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; }
section { padding: 22px 24px; margin-top: 20px; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 0; }
.figures > div { padding: 14px 18px; }
.figures dt { color: var(--faint); font-size: 13px; }
.figures dd { margin: 2px 0 0; font-size: 22px; font-weight: 600; font-variant-numeric: tabular-nums; }
.verdict { margin-top: 20px; padding: 14px 18px; border-radius: 10px; background: #fff6e5; border: 1px solid #f0d9a8; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(340px, 100%), 1fr)); gap: 14px; }
figure { margin: 0; }
figure img, img.plot { width: 100%; display: block; border-radius: 6px; }
figcaption { color: var(--faint); font-size: 13px; margin-top: 4px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: right; color: var(--faint); font-weight: 500; font-size: 13px; white-space: nowrap; }
td { text-align: right; }
th, td { padding: 6px 10px; border-bottom: 1px solid var(--line); vertical-align: middle; }
th:nth-child(-n+2), td:nth-child(-n+2), table.plain th, table.plain td:first-child { text-align: left; }
td img { display: block; width: 88px; height: 66px; border-radius: 5px; }
.id { display: inline-flex; align-items: center; gap: 8px; font-weight: 600; }
.id i { width: 16px; height: 16px; border-radius: 4px; display: inline-block; }
.bar { display: inline-block; width: 56px; height: 6px; border-radius: 3px; background: var(--line);
       margin-right: 8px; vertical-align: middle; text-align: left; overflow: hidden; }
.bar b { display: block; height: 100%; background: #4477aa; }
pre { background: var(--ground); border-radius: 8px; padding: 14px 16px; overflow-x: auto; font-size: 13px; }
summary { cursor: pointer; font-weight: 650; font-size: 17px; }
@media print { body { background: white; } section { break-inside: avoid; } }
"""
