#pragma once
/// The styles of html_report(). Internal.

namespace frieze {

inline constexpr const char* kReportStyle = R"css(
:root{color-scheme:light dark;--bg:#fafaf8;--card:#fff;--ink:#1d2127;--soft:#5c6570;--line:#dfe2e6;--math:#3366cc;--bytes:#0f8a7e;
--above:#f0a83c;--wait:#b9c0c8;--bad:#c62f3b;--good:#2a8a4a;--hold:#d9e4f6}
@media(prefers-color-scheme:dark){:root{--bg:#14171b;--card:#1c2026;--ink:#e6e8eb;--soft:#9aa4b0;--line:#333a43;--math:#6d9bf5;--bytes:#3cc2b2;
--above:#d98f26;--wait:#59626d;--bad:#ff7a80;--good:#6fd08c;--hold:#2b3a55}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1280px;margin:0 auto;padding:32px 24px 64px}
h1{font-size:26px;margin:0;letter-spacing:-.01em}
h2{font-size:18px;margin:40px 0 4px}
p{margin:4px 0 12px;max-width:82ch}
.soft,small{color:var(--soft)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(170px,1fr));gap:12px;margin:20px 0 8px}
.card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:12px 14px}
.card b{display:block;font-size:22px;font-weight:600;font-variant-numeric:tabular-nums}
.card span{color:var(--soft);font-size:13px}
figure{margin:12px 0;background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px}
svg{display:block;width:100%;height:auto}
svg text{font:11px system-ui,sans-serif;fill:var(--ink)}
svg .on{paint-order:stroke;stroke:var(--card);stroke-width:3px;stroke-linejoin:round}
svg .tick{fill:var(--soft)}
svg .axis{stroke:var(--line)}
.math{fill:var(--math);background:var(--math)}.bytes{fill:var(--bytes);background:var(--bytes)}
.above{fill:var(--above);background:var(--above)}.wait{fill:var(--wait);background:var(--wait)}
.step{fill:none;stroke:var(--card);stroke-width:1}
.hold{fill:var(--hold);stroke:var(--card);stroke-width:1}
.work{fill:var(--above);stroke:var(--card);stroke-width:1;opacity:.75}
.key{display:flex;flex-wrap:wrap;gap:6px 18px;font-size:13px;color:var(--soft);margin-top:10px}
.key i{display:inline-block;width:12px;height:12px;border-radius:3px;margin-right:6px;vertical-align:-1px}
.wide{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:10px}
table{border-collapse:collapse;width:100%;font-size:13px}
th,td{padding:5px 8px;text-align:left;white-space:nowrap;border-bottom:1px solid var(--line)}
tbody tr:last-child td{border-bottom:0}
th{color:var(--soft);font-weight:600;position:sticky;top:0;background:var(--card)}
.n{text-align:right;font-variant-numeric:tabular-nums}
td.path{font-family:ui-monospace,Consolas,monospace}
td.long{white-space:normal;min-width:150px;color:var(--soft)}
.bar{display:block;height:8px;border-radius:2px;min-width:1px}
.track{display:inline-block;width:64px}
.bad{color:var(--bad);font-weight:600}.good{color:var(--good);font-weight:600}
details{margin:12px 0}summary{cursor:pointer;color:var(--soft);margin-bottom:8px}
@media print{main{max-width:none;padding:0}.wide,figure{break-inside:auto;overflow:visible}}
)css";

}  // namespace frieze
