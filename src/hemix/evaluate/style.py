"""The look of the pages: one style sheet for light and dark, wide and narrow screens, and paper."""

CSS = """
:root{--paper:#fff;--card:#f6f7f9;--ink:#1d2430;--soft:#5b6675;--line:#d8dde4;--first:#1f6feb;--second:#c2410c}
@media (prefers-color-scheme:dark){:root{--paper:#12161c;--card:#1a2029;--ink:#e3e8ef;--soft:#98a4b3;--line:#313b47;
--first:#6cb0ff;--second:#ff9d5c}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:1080px;margin:0 auto;padding:28px 20px 60px}
h1{margin:0;font-size:26px}h2{margin:34px 0 8px;font-size:19px}h3{margin:26px 0 6px;font-size:15px}
header p,footer,section>p{color:var(--soft);margin:4px 0 10px}footer{margin-top:36px;font-size:13px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(190px,1fr));gap:12px;margin-top:18px}
.tiles div{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:12px 16px}
.tiles b{display:block;font-size:13px;color:var(--soft);font-weight:600}
.tiles strong{display:block;font-size:27px;font-variant-numeric:tabular-nums}
.tiles i{font-style:normal;font-size:12.5px;color:var(--soft);font-variant-numeric:tabular-nums}
figure{margin:8px 0}figure svg{width:100%;height:auto;display:block}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:13.5px;font-variant-numeric:tabular-nums}
th{color:var(--soft);font-weight:600;border-bottom:1px solid var(--line)}
th,td{padding:5px 10px;text-align:right;white-space:nowrap;vertical-align:middle}
td{border-bottom:1px solid var(--line)}
th:first-child,td:first-child{text-align:left;padding-left:0;white-space:normal;overflow-wrap:anywhere;min-width:110px}
table.text th:last-child,table.text td:last-child{text-align:left;white-space:normal;overflow-wrap:anywhere}
b small{font-weight:400}
small{color:var(--soft);font-size:12px}
.mark{width:200px;height:16px;display:block;margin-left:auto}
.mark .bar{stroke:currentColor;stroke-width:2.5;stroke-linecap:round;opacity:.55}
.mark circle{fill:currentColor}.mark .whole{stroke:var(--soft);stroke-width:1;stroke-dasharray:2 2}
.first{color:var(--first)}.second{color:var(--second)}.even{color:var(--soft)}
.why{color:var(--soft);font-size:12px}
pre{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:14px;overflow-x:auto;font-size:12.5px}
summary{cursor:pointer;color:var(--first)}
@media print{details{display:none}section{break-inside:avoid}}
"""
