"""A folder of documents of every kind, as a user might have it."""

from __future__ import annotations

from pathlib import Path

GUIDE = """# Workers

Lantern runs background jobs on workers.

## Retries

A failed job is tried again, and the wait doubles after every attempt.

## Queues

A worker pulls the oldest job from the queue it is assigned to.
"""
MANUAL = """# 网关手册

网关负责转发请求。

## 限流

限流插件按客户端地址统计请求次数，超过上限的请求会被拒绝。
"""
GBK = "定时任务在每天凌晨执行。如果上一次运行还没有结束，调度器会跳过这一次，并在日志中写下原因。"
HTML = """<!doctype html><html><head><title>Chart legends</title><style>p { color: red }</style></head>
<body><script>var tracking = "unwanted";</script><h1>Legends</h1><p>The legend is drawn to the right of the chart.</p>
</body></html>"""
CODE = '''"""Helpers for sensors."""


def average_temperature(readings):
    """Return the mean of the sensor readings."""
    return sum(readings) / len(readings)
'''
NOTES = "The telescope is calibrated at dawn.\n"
PAGES = ["Invoices are archived for seven years.", "Refunds need the approval of two managers."]


def write_documents(folder: Path) -> Path:
    """Write seven readable documents, three PDFs' worth of trouble left out, and files to be passed over."""
    for name in ("zh", ".hidden", "deep/.git"):
        (folder / name).mkdir(parents=True)
    (folder / "guide.md").write_text(GUIDE, encoding="utf-8")
    (folder / "zh" / "manual.md").write_text(MANUAL, encoding="utf-8")
    (folder / "schedule.txt").write_bytes(GBK.encode("gbk"))
    (folder / "legend.html").write_text(HTML, encoding="utf-8")
    (folder / "sensors.py").write_text(CODE, encoding="utf-8")
    (folder / "deep" / "notes.txt").write_text(NOTES, encoding="utf-8-sig")
    (folder / "report.pdf").write_bytes(pdf(*PAGES))
    (folder / ".hidden" / "secret.md").write_text("A hidden word: xylophone.", encoding="utf-8")
    (folder / "deep" / ".git" / "config.ini").write_text("xylophone", encoding="utf-8")
    (folder / ".dotfile.txt").write_text("xylophone", encoding="utf-8")
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "empty.txt").write_text("", encoding="utf-8")
    return folder


def pdf(*pages: str) -> bytes:
    """Return a PDF with one line of text a page, none for an empty string."""
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for i, text in enumerate(pages):
        drawing = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET" if text else ""
        objects += [
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {5 + 2 * i} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>",
            f"<< /Length {len(drawing)} >>\nstream\n{drawing}\nendstream",
        ]
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode("ascii")
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    head = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
    tail = f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(out)}\n%%EOF\n"
    return out + (head + tail).encode("ascii")
