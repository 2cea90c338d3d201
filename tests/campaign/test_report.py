"""The page and the drawing of a run."""

from xml.etree import ElementTree as ET

from tests.campaign.hand_made import asked, calm, hot, made, suffered
from tests.campaign.history import History, Late
from tests.campaign.plan import Fault
from tests.campaign.report import Title, page
from tests.campaign.timeline import draw
from tests.campaign.verdict import figures, judge, spread

TITLE = Title(7, "abc", 5, "witness", "embedded", "mosquitto", "normal", 3, 301.0, 0.0)


def two_hot() -> History:
    history = made(hot(1, 70, 1), hot(69, 90, 2))
    history.suffered.append(suffered(Fault.LOSS, "white", 60, 65))
    history.calms.append(calm(75, 80))
    history.late.append(Late(50, 0.012))
    request, response = asked("ping", "white", 3, 4, node="white")
    history.requests.append(request)
    history.responses.append(response)
    return history


def test_page_holds_the_figures() -> None:
    history = two_hot()
    text = page(TITLE, history, figures(history), judge(history))
    assert text.startswith("# Fault campaign: FAILED")
    assert "seed 7, commit abc" in text
    assert "| loss | 1 |" in text
    assert "| ping | 1 | 1 | 1 |" in text
    assert "| two hot at one time | 1, not excused 1 |" in text
    assert "| worst delay of the machine | 12 ms |" in text
    assert "69.000 s, never two hot: white (term 1, silent) and black" in text


def test_page_of_a_good_run() -> None:
    history = made(hot(1, 70, 1))
    assert page(TITLE, history, figures(history), []).startswith("# Fault campaign: passed")


def test_drawing_is_xml_with_every_bar() -> None:
    history = two_hot()
    drawing = draw(history, judge(history), {"white": [(0.0, 95.0)]})
    root = ET.fromstring(drawing)
    titles = [each.text for each in root.iter() if each.tag.endswith("title")]
    assert titles.count("hot, term 1, silent") == 2  # it goes on in the second panel
    assert "loss white" in titles
    assert "calm" in titles
    assert any(title and title.startswith("never two hot") for title in titles)


def test_drawing_of_an_empty_history() -> None:
    ET.fromstring(draw(made(), [], {}))


def test_spread_names_the_middle_and_the_ends() -> None:
    assert spread([]) == "none"
    assert spread([0.3, 0.1, 0.2]) == (
        "3: least 100, median 200, nine tenths below 300, most 300 ms"
    )
