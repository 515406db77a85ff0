"""The report's style sheet: one page, light or dark, on paper and on a telephone."""

from __future__ import annotations

from typing import Final

__all__ = ["STYLE"]

STYLE: Final = """
:root{--ink:#1b2733;--soft:#5a6b7b;--line:#d9e0e6;--paper:#fff;--wash:#f4f7f9;--accent:#0072b2;color-scheme:light dark}
@media (prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9fb0c0;--line:#33414e;--paper:#11181f;--wash:#1a232c}}
*{box-sizing:border-box}
body{margin:0;background:var(--wash);color:var(--ink);font:16px/1.55 system-ui,"Segoe UI",Helvetica,Arial,sans-serif}
main{max-width:1040px;margin:0 auto;padding:28px 18px 60px}
header h1{font-size:1.9rem;line-height:1.2;margin:0 0 .4rem}
header p{font-size:1.08rem;color:var(--soft);margin:.2rem 0;max-width:46rem}
.caution{border-left:4px solid #e69f00;padding:.3rem .8rem;background:var(--paper);color:var(--ink)!important}
section,figure{background:var(--paper);border:1px solid var(--line);border-radius:12px;padding:18px 20px;margin:18px 0}
h2{font-size:1.25rem;margin:0 0 .5rem}h3{font-size:1.02rem;margin:0 0 .5rem}
section p{max-width:50rem;margin:.4rem 0 .9rem}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px}
.cards div{border:1px solid var(--line);border-radius:10px;padding:12px 14px;background:var(--wash)}
.cards b{display:block;font-size:1.7rem;color:var(--accent)}
.cards span{display:block}.cards small,td small{color:var(--soft)}
table{border-collapse:collapse;width:100%;margin:.6rem 0 1rem;font-variant-numeric:tabular-nums}
caption{text-align:left;font-weight:600;padding:.2rem 0}
th,td{text-align:left;padding:.38rem .7rem .38rem 0;border-bottom:1px solid var(--line);vertical-align:top}
th{font-weight:600}tr.all th,tr.all td{border-top:2px solid var(--soft);font-weight:600}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:0 18px}
figure{margin:9px 0}figcaption{color:var(--soft);font-size:.92rem;margin-top:.4rem}
svg{width:100%;height:auto;display:block}svg text{font-size:11px;fill:var(--soft)}
.pictures{display:grid;grid-template-columns:repeat(auto-fit,minmax(260px,1fr));gap:14px}
.pictures div{font-size:.92rem;color:var(--soft)}.pictures img{width:100%;height:auto;display:block;border-radius:8px}
.grid{stroke:var(--line);stroke-width:1}
.legend{margin:.4rem 0 0;font-size:.9rem}.legend span{margin-right:1rem;white-space:nowrap}
.legend i{display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:.35rem}
code,pre{font:13px/1.5 ui-monospace,Menlo,Consolas,monospace;overflow-wrap:anywhere}
pre{background:var(--wash);border:1px solid var(--line);border-radius:8px;padding:10px 12px;white-space:pre-wrap}
@media (max-width:640px){th,td{padding-right:.4rem;font-size:.88rem}header h1{font-size:1.5rem}}
@media print{body{background:#fff}section,figure{break-inside:avoid;border-color:#ccc}}
"""
