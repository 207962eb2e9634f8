"""Writes the example documents: `python examples/documents/make.py`. The same run gives the same bytes.

The company, its people, its prices and its rules are invented. The documents are made by a script so that a reader
can see what the answers in the README are grounded in, and so that a test can hold the files to their source.
"""

import datetime
import io
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape

import docx
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle, getSampleStyleSheet
from reportlab.lib.units import cm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import PageBreak, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle
from reportlab.platypus.flowables import Flowable

_STYLES = getSampleStyleSheet()
_BODY = ParagraphStyle("body", parent=_STYLES["BodyText"], fontSize=10.5, leading=14.5, spaceAfter=7)
_CELL = ParagraphStyle("cell", parent=_STYLES["BodyText"], fontSize=9.5, leading=12)
_HEAD = ParagraphStyle("head", parent=_CELL, fontName="Helvetica-Bold")
_H1 = ParagraphStyle("h1", parent=_STYLES["Heading1"], fontSize=16, leading=20, spaceBefore=4, spaceAfter=8)
_H2 = ParagraphStyle("h2", parent=_STYLES["Heading2"], fontSize=12.5, leading=16, spaceBefore=8, spaceAfter=5)

Rows = list[list[str]]

# "! " opens a title, "# " and "## " headings, "| " the rows of a table, "- " items; other paragraphs are text.
HANDBOOK = """\
! Employee handbook

Harbour & Pine, edition of 1 March 2026

# 1 About this handbook

Harbour & Pine builds and leases quiet rooms: soundproof cabins of pine that stand in offices, libraries and
stations. We are 212 people at three sites: the head office in Bergen, the workshop in Voss and the service
depot in Aarhus. This handbook says what you can expect from us and what we expect from you. It applies to
everybody with an employment contract, whether full time, part time or temporary.

Where this handbook and your contract differ, the contract holds. Where it leaves a question open, ask the
people team at people@harbour-pine.example or on extension 410. Suggestions are collected all year and decided
upon in February; the edition that follows takes effect on 1 March.

## 1.1 Who to ask

| Question | Who answers | Extension
| Contract, leave, pay slip | People team, Ingrid Solheim | 410
| Laptop, phone, accounts | IT desk, Tomas Brekke | 422
| Keys, parking, meeting rooms | Reception, ground floor | 400
| Accidents and first aid | Safety officer, Lene Dahl | 433
| Expenses and company cards | Accounts, Marius Vik | 415

# 2 Working hours

A full working week has 37.5 hours. Core hours are from 9:30 to 14:30, Monday to Thursday; outside of them you
arrange your day with your team. On Fridays there are no core hours, and no meeting of more than four people may
be called after noon. The workshop in Voss works in two shifts, from 6:00 to 13:45 and from 13:30 to 21:15, and
publishes the shift plan four weeks ahead.

Overtime has to be agreed with your manager before it is worked. It is paid with a supplement of 40 percent, or
60 percent on Sundays and public holidays, or taken as time off at the same rate. Nobody works more than ten
hours of overtime in a week.

=== page ===

# 3 Leave

## 3.1 Annual leave

Leave is counted in working days and grows with the years that you have been with us. The table shows the days
for a full-time contract; part-time contracts get the same share of them as of the hours.

| Years of service | Days of annual leave | Of these, may be carried over
| Less than 2 years | 25 days | 3 days
| 2 to 4 years | 27 days | 5 days
| 5 to 9 years | 30 days | 5 days
| 10 years and more | 33 days | 8 days

Days that are carried over have to be taken by 30 April of the following year. Leave of more than three weeks at
a time is requested at least eight weeks ahead; a single day can be requested the day before. Your manager
answers within five working days, and a request without an answer counts as granted.

## 3.2 Illness

If you are ill, tell your manager before 9:30 on the first day. You need no certificate for the first three
calendar days; from the fourth day on, send a doctor's certificate to the people team. Your pay continues in
full for 52 weeks. Days of annual leave on which you are ill are given back.

## 3.3 Family and other leave

| Occasion | Paid days | Notice
| Birth or adoption, other parent | 20 days | Four weeks
| Illness of a child under 12 years | 10 days a year for each parent | The same day
| Moving house | 1 day | Two weeks
| Wedding or partnership | 2 days | Four weeks
| Death of a close relative | 5 days | None

After six years of service you may take a sabbatical of up to four months. It is unpaid, but we go on paying
your pension contributions. Apply six months before it begins.

=== page ===

# 4 Equipment

## 4.1 What you get

On your first day the IT desk hands you a laptop, a dock and a headset, and reception gives you an access card.
Phones are given to people who travel more than 30 days a year or are on call. All of it remains the property of
Harbour & Pine. You may use the laptop privately within reason, but not for paid work for others, and nobody
else may use it.

Laptops are replaced after four years, phones after three. If something breaks, bring it to the IT desk; you get
a replacement within two working days. Report a lost or stolen device on the day you notice it, also at the
weekend, on +47 55 00 04 22, so that it can be locked.

## 4.2 Returning equipment

You have 14 days after your last working day to return a laptop, together with its charger. Hand it in at the IT
desk on the ground floor, or send it in the prepaid box that the IT desk mails to you on request. The periods
for everything else are in the table. If an item is not back in time, we remind you once and then deduct the
amount in the last column from your final pay.

| Item | To be returned within | Where | Deducted if not returned
| Laptop with charger | 14 days after the last working day | IT desk, ground floor, Bergen | 900 EUR
| Phone | 14 days after the last working day | IT desk, ground floor, Bergen | 350 EUR
| Monitor, dock and other equipment of a home office | 30 days after the last working day; collected on request | Service depot or IT desk | 180 EUR
| Access card and keys | The last working day itself | Reception | 60 EUR
| Workshop tools on loan | 3 days after the end of the loan | Tool store, Voss | Value of the tool
| Company car | The last working day itself | Reception, with the logbook | 45 EUR for each day

Before you return a device, copy what is private and sign out of private accounts. The IT desk erases every
device within two working days of its return and gives you a receipt; keep it until your final pay slip has
arrived.

=== page ===

# 5 Travel and expenses

Travel by train where the journey takes less than six hours. Flights are booked in economy class, by the travel
desk, and need the consent of your manager. Hotels may cost up to the limits in the table, breakfast included.
Where no hotel can be found below the limit, ask the travel desk before you book.

| Country | Hotel, at most per night | Daily allowance | Allowance, first and last day
| Norway | 170 EUR | 68 EUR | 51 EUR
| Denmark | 165 EUR | 66 EUR | 50 EUR
| Germany | 140 EUR | 48 EUR | 36 EUR
| United Kingdom | 180 EUR | 62 EUR | 47 EUR
| Other countries | 150 EUR | 50 EUR | 38 EUR

Hand in expenses within 30 days of the journey, with receipts, in the expenses tool. Claims of up to 75 EUR need
no approval. Claims that arrive by the 20th of a month are paid with that month's salary. Private cars are
reimbursed at 0.38 EUR per kilometre; parking fines are not reimbursed.

## 5.1 Meals and gifts

Meals with customers may cost up to 55 EUR per person. You may accept gifts worth up to 40 EUR; politely decline
anything above, or hand it to reception for the raffle in December. Cash and vouchers are never accepted,
whatever their value.

=== page ===

# 6 Working from home and abroad

You may work from home on up to three days a week, unless your tasks tie you to a place. For a permanent home
office we pay once 400 EUR towards a desk and a chair and lend you a monitor. Your home office has to be in the
country of your contract.

Work from another country of the European Economic Area is possible on 20 working days a year. Ask the people
team at least four weeks ahead, because a certificate for social insurance has to be applied for. Work from
elsewhere is not possible, not even for a few days.

# 7 Information security

Lock your screen when you leave your desk. Passwords are kept in the password manager and have at least 14
characters; a second factor is required for every account that can be reached from the internet. Data of
customers is never stored on private devices or sent to private addresses.

| Class | Examples | Where it may be kept | Kept for
| Public | Brochures, price list | Anywhere | No limit
| Internal | This handbook, minutes of meetings | Company drives and devices | 5 years
| Confidential | Contracts, offers, drawings | Company drives, shared by name only | 10 years
| Strictly confidential | Pay, health, passwords | The system made for it, nowhere else | As the law says

If you clicked on something that you should not have, or sent something to the wrong person, call the IT desk at
once. Nobody is blamed for a report; we have only ever been hurt by those that came late. The IT desk decides
within four hours whether customers or the authorities have to be told.

=== page ===

# 8 Safety in the workshop

Nobody enters the workshop without safety shoes, and nobody runs the panel saw, the press or the spray booth
without the training for it, which is renewed every 24 months. Hearing protection is worn wherever the floor is
marked in yellow. The emergency stops are tested on the first Monday of each month at 6:15.

Each accident, however small, is entered in the accident book on the same day. First-aid kits hang at gates A, C
and F; the defibrillator is beside gate C. The assembly point is the car park of the library.

# 9 Learning

Each of us has a budget of 1,200 EUR and five working days a year for learning. It may be spent on courses,
conferences, books or exams that have to do with your work or with work you could do here. Unused money lapses
at the end of the year; unused days can be carried over once. If a course costs more than 3,000 EUR we agree in
writing on how much you pay back if you leave within 18 months.

# 10 Leaving us

The period of notice is one month during the first six months and three months after that, for both sides, to
the end of a calendar month. Give notice in writing to your manager or to the people team; an e-mail is enough.
Remaining leave is taken during the period of notice where possible and paid out otherwise.

In your last week the people team invites you to a conversation and goes through the list of equipment in
section 4.2 with you. Your accounts are closed at 17:00 on your last working day. Your reference is sent within
ten working days. Your mailbox answers with a notice for 60 days and is then deleted.
"""  # noqa: E501 (a row is a line)

ONBOARDING = """\
! Onboarding at Harbour & Pine

These notes are for new colleagues and for the people who look after them. Everybody who starts gets a guide
from another team, who has lunch with them on the first day and answers questions for the first 90 days. New
colleagues start on the first working Monday of a month, at 9:00, at the reception in Bergen.

# Before the first day

- Send your bank details and tax number to the people team, at least ten days ahead.
- Choose a laptop: the light one with 14 inches, or the workstation with 16 inches.
- Tell reception the number plate of your car if you want to park; there are 40 places for 130 people.
- Sign the confidentiality agreement. The link in the letter is valid for 14 days.

# The first week

| Day | Time | What | With whom
| Monday | 9:00 | Welcome, access card, laptop | Reception and IT desk
| Monday | 13:00 | Tour of the head office | Your guide
| Tuesday | 10:00 | Security training (90 minutes) | Tomas Brekke
| Wednesday | 7:40 | Train to Voss, day in the workshop | Lene Dahl
| Thursday | 9:30 | How a quiet room is made, sold and serviced | Three teams in turn
| Friday | 11:00 | Look back on the week | Your manager

Bring closed shoes on Wednesday; safety shoes in all sizes are lent out at gate A. The train to Voss leaves from
platform 3 and the ticket is in your calendar invitation.

# Probation

The first six months are a probation period. You have two talks with your manager in it, after six weeks and
after five months. At the second one you are told, in writing, whether you stay; until now 97 of 100 people
have. Annual leave may be taken during probation, up to the days earned by then.

# Accounts

The accounts below are created for you. Others are requested at the IT desk.

| Account | Ready | Second factor
| Mail and calendar | First day | Yes
| Time sheets | First day | No, only in the office network
| Drawings archive | After the security training | Yes, with a security key
| Expenses tool | Second week | Yes

The mentor bonus of 250 EUR is paid to your guide when your probation ends, so do not hesitate to ask.
"""

PRICING = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Prices 2026 · Harbour &amp; Pine</title>
<style>body { font-family: sans-serif } .old { color: #888 }</style>
<script>window.analytics = "never part of the text";</script>
</head>
<body>
<nav><a href="/">Home</a> <a href="/rooms">Rooms</a> <a href="/contact">Contact</a></nav>
<main>
<h1>Prices for quiet rooms</h1>
<p>All prices are per room, in euros, without VAT, and hold from 1 January to 31 December 2026. A lease includes
delivery, assembly, one move within the building each year, and repairs within <strong>three working days</strong>.</p>

<h2>Lease</h2>
<table>
<thead><tr><th>Room</th><th>People</th><th>12 months</th><th>36 months</th><th>Deposit</th></tr></thead>
<tbody>
<tr><td>Skerry</td><td>1</td><td>189 EUR per month</td><td>149 EUR per month</td><td>400 EUR</td></tr>
<tr><td>Fjord</td><td>2 to 3</td><td>329 EUR per month</td><td>269 EUR per month</td><td>700 EUR</td></tr>
<tr><td>Archipelago</td><td>4 to 6</td><td>549 EUR per month</td><td>459 EUR per month</td><td>1,200 EUR</td></tr>
<tr><td>Lighthouse, with its own ventilation</td><td>6 to 8</td><td>790 EUR per month</td><td>675 EUR per month</td>
<td>1,800 EUR</td></tr>
</tbody>
</table>
<p>The minimum term is 12 months. After that a lease goes on from month to month and can be ended with six weeks'
notice. The deposit is paid back within 30 days of the day on which the room is collected.</p>

<h2>Purchase</h2>
<table>
<tr><th>Room</th><th>Price</th><th>Delivery</th></tr>
<tr><td>Skerry</td><td>5,400 EUR</td><td>4 weeks</td></tr>
<tr><td>Fjord</td><td>9,900 EUR</td><td>6 weeks</td></tr>
<tr><td>Archipelago</td><td>16,500 EUR</td><td>8 weeks</td></tr>
</table>
<p>Lighthouse is only leased. The warranty is five years on the frame and two years on electrics and doors.</p>

<h2>Discounts</h2>
<ul>
<li>Schools, libraries and hospitals: 15 percent on leases, 10 percent on purchases.</li>
<li>From five rooms on: 8 percent. From twenty rooms on: 14 percent.</li>
<li>Rooms that have been leased before: 35 percent off the price of a new one, while there are some.</li>
</ul>
<p>Discounts are not added up; the highest one counts.</p>

<h2>Cancelling an order</h2>
<p>An order can be cancelled free of charge until ten working days before delivery. After that we charge 20 percent of
the price, or two months' rent.</p>
<p hidden>Draft: prices for 2027 are to be decided in October.</p>
</main>
<footer><p>Harbour &amp; Pine, Strandgaten 18, Bergen · sales@harbour-pine.example</p></footer>
</body>
</html>
"""

OPERATIONS = """# Operations guide of the service depot

How the depot in Aarhus delivers, services and collects quiet rooms. Owner: Nils Aagaard. Last change: 14 May 2026.

## Opening hours

The depot is open Monday to Friday from 7:00 to 16:30. Outside of these hours the on-call phone, +45 70 00 04 50, is
answered by one technician, for rooms that cannot be opened and for water damage only.

## Delivery

1. Confirm the date and the lift's dimensions with the customer five working days before.
2. Load the van the evening before. A Skerry takes two people and three hours, an Archipelago four people and a day.
3. Measure the noise inside and outside; the difference has to be at least 32 dB.
4. Have the hand-over sheet signed. Without a signature the lease does not begin.

## Faults and how fast we are

| Priority | Example | First answer | Repaired within |
|----------|---------|--------------|-----------------|
| P1 | A person is locked in, smell of burning | 15 minutes | 4 hours |
| P2 | Ventilation or light fails | 2 hours | 1 working day |
| P3 | Door scrapes, socket loose | 1 working day | 3 working days |
| P4 | Scratches, missing cover | 3 working days | Next yearly service |

A customer whose P1 or P2 fault is not repaired in time gets one month's rent back for that room. Tell accounts on the
same day; do not wait for the customer to ask.

## Yearly service

Every room is serviced once a year. The filter is changed, the hinges are oiled, the smoke detector is tested, and the
sealing of the door is replaced after four years. The smoke detector's battery lasts for ten years; the date is on the
sticker behind the grille.

## Collecting rooms

Rooms are collected within 15 working days after a lease has ended. They are inspected in hall 2: class A goes back to
stock, class B is repaired and sold with a discount, class C is taken apart. Pine goes to the workshop in Voss, glass
and foam to the recycling yard.

## Spare parts

Keep at least this many on the shelf; order when the number is reached:

- Door handles: 25
- Ventilators, 80 mm: 40
- Filters: 120
- Glass panels, 8 mm: 6 of each size

Orders placed with the workshop before noon on Tuesday arrive on Thursday.

```
depot stock list --below-minimum
depot order create --from stock
```
"""

MINUTES = """Minutes of the works meeting
Harbour & Pine, Bergen, 9 June 2026, 13:00 to 14:20

Present: Ingrid Solheim (chair), Tomas Brekke, Lene Dahl, Marius Vik, Nils Aagaard (by video)
Excused: Dr. Eva Nygaard
Minutes: Marius Vik

1. Minutes of the last meeting

The minutes of 12 May were accepted without changes.

2. Heat in the workshop

Lene reported that the spray booth reached 31 degrees on six days in May, i.e. one degree more than the limit. Two
offers for cooling are in: 18,400 EUR from Kuldeteknikk and 21,900 EUR from Vestvind. It was decided to take the offer
of Kuldeteknikk, because it includes five years of maintenance. The work is to be done in week 31, while the workshop
is closed. Until then the late shift begins at 15:00 on days above 28 degrees.

3. Bicycle shed

The shed has 36 places and was full on most days in May. Reception will mark 12 more places beside gate A by the end
of June. Charging batteries inside the building remains forbidden; Tomas will have a fire-proof cabinet with eight
sockets installed in the shed. Cost: 2,150 EUR, from the budget for safety.

4. Returned laptops

Tomas counted 11 laptops that came back late in the last twelve months, most of them from home offices. The period of
14 days in the handbook stays as it is. From 1 July on, the IT desk sends the prepaid box with the letter that confirms
the notice, so that nobody has to ask for it.

5. Summer party

The party is on Friday, 28 August, from 15:00, on the quay behind the head office. There is a budget of 45 EUR per
person. Nils will bring the band from Aarhus. Families are welcome; please sign up by 14 August.

6. Any other business

The coffee machine on the second floor is leased until November. Ingrid will ask for three offers. The next meeting is
on 8 September at 13:00.

Decisions
- Cooling of the spray booth by Kuldeteknikk, 18,400 EUR, week 31 (Lene)
- Twelve more bicycle places and a battery cabinet by 30 June (reception, Tomas)
- Prepaid boxes for laptops from 1 July (Tomas)
"""


def _blocks(source: str) -> Iterator[tuple[str, str, Rows]]:
    """Each block of the source as its mark, its text and, for a table, its rows."""
    for block in source.strip().split("\n\n"):
        mark, _, rest = block.partition(" ")
        if mark == "|":
            yield mark, "", [line[2:].split(" | ") for line in block.split("\n")]
        elif mark == "-":
            for item in block[2:].split("\n- "):
                yield mark, item, []
        elif mark in {"!", "#", "##", "==="}:
            yield mark, rest, []
        else:
            yield "", " ".join(block.split()), []


def handbook() -> bytes:
    """The handbook as a PDF with headings, ruled tables and page numbers."""
    buffer = io.BytesIO()
    story: list[Flowable] = []
    for mark, text, rows in _blocks(HANDBOOK):
        if mark == "===":
            story.append(PageBreak())
        elif rows:
            story += [_table(rows), Spacer(1, 10)]
        else:
            style = {"!": _STYLES["Title"], "#": _H1, "##": _H2}.get(mark, _BODY)
            story.append(Paragraph(escape(text), style))
    document = SimpleDocTemplate(
        buffer,
        pagesize=A4,
        leftMargin=2.3 * cm,
        rightMargin=2.3 * cm,
        title="Harbour & Pine employee handbook",
        author="Harbour & Pine",
        invariant=1,
    )
    document.build(story, onFirstPage=_footer, onLaterPages=_footer)
    return buffer.getvalue()


def _table(rows: Rows) -> Table:
    cells = [[Paragraph(cell, _CELL if index else _HEAD) for cell in row] for index, row in enumerate(rows)]
    table = Table(cells, colWidths=[16.2 * cm / len(rows[0])] * len(rows[0]))
    table.setStyle(
        TableStyle(
            [
                ("GRID", (0, 0), (-1, -1), 0.5, colors.grey),
                ("BACKGROUND", (0, 0), (-1, 0), colors.whitesmoke),
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ]
        )
    )
    return table


def _footer(canvas: Canvas, document: SimpleDocTemplate) -> None:
    canvas.setFont("Helvetica", 8)
    canvas.drawRightString(A4[0] - 2.3 * cm, 1.2 * cm, f"Page {document.page}")


def onboarding() -> bytes:
    """The notes for new colleagues as a Word document with headings, a list and two tables."""
    document = docx.Document()
    properties = document.core_properties
    properties.title, properties.author = "Onboarding at Harbour & Pine", "Ingrid Solheim"
    properties.created = properties.modified = datetime.datetime(2026, 3, 1, 9, 0)  # noqa: DTZ001 (naive UTC there)
    for mark, text, rows in _blocks(ONBOARDING):
        if mark == "|":
            _word_table(document, rows)
        elif mark in {"!", "#"}:
            document.add_heading(text, 0 if mark == "!" else 1)
        else:
            document.add_paragraph(text, style="List Bullet" if mark == "-" else None)
    raw = io.BytesIO()
    document.save(raw)
    return _dated_zip(raw.getvalue())


def _word_table(document: "docx.document.Document", rows: Rows) -> None:
    table = document.add_table(rows=0, cols=len(rows[0]))
    table.style = "Table Grid"
    for row in rows:
        for cell, text in zip(table.add_row().cells, row, strict=True):
            cell.text = text


def _dated_zip(data: bytes) -> bytes:
    """The same archive with one date on every member: the library writes the current one."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(target, "w") as archive:
        for name in source.namelist():
            info = zipfile.ZipInfo(name, (2026, 3, 1, 9, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, source.read(name))
    return target.getvalue()


def files() -> dict[str, bytes]:
    """All documents by their path below this folder."""
    return {
        "handbook.pdf": handbook(),
        "notes/onboarding.docx": onboarding(),
        "notes/pricing.html": PRICING.encode(),
        "notes/operations.md": OPERATIONS.encode(),
        "notes/minutes.txt": MINUTES.encode(),
    }


if __name__ == "__main__":
    folder = Path(__file__).parent
    for name, data in files().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        sys.stdout.write(f"{name}: {len(data):,} bytes\n")
