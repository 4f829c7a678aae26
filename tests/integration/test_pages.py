"The try-out page and Swagger UI of a real server, in a real browser."

import pytest
from live_server import LiveServer, save_model
from playwright.sync_api import expect, sync_playwright

CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    server = LiveServer(save_model(folder / "model"), folder)
    yield f"http://127.0.0.1:{server.port}/"
    server.stop()


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture(params=[True, False], ids=["with JavaScript", "without JavaScript"])
def page(request, browser, address):
    "The try-out page; what the console says goes to `page.said`."
    context = browser.new_context(java_script_enabled=request.param)
    page = context.new_page()
    page.said = []
    page.on("console", lambda message: page.said.append(message.text))
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.goto(address)
    yield page
    context.close()


def test_a_row_is_predicted_and_explained(page):
    page.get_by_label("distance").fill("30")
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#result .big")).to_contain_text("%")
    expect(page.locator(".bars li")).to_have_count(3)
    expect(page.get_by_label("distance")).to_have_value("30")
    assert page.said == []


def test_a_mistake_is_named_beside_its_field(page):
    page.get_by_label("distance").fill("")
    page.get_by_role("button", name="Predict").click()
    wrong = page.locator(".field.wrong")
    expect(wrong).to_have_count(1)
    expect(wrong).to_contain_text("distance")
    expect(wrong.locator(".problem")).to_have_text("missing; expected a whole number")
    assert not [text for text in page.said if "Content Security Policy" in text]


def test_the_next_golden_row_is_taken(page):
    before = page.get_by_label("distance").input_value()
    page.get_by_text("Next golden row").click()
    expect(page.get_by_label("distance")).not_to_have_value(before)
    assert page.said == []


def test_the_docs_show_every_operation_and_execute_one(browser, address):
    page = browser.new_page()
    said = []
    page.on("console", lambda message: said.append(message.text))
    page.goto(f"{address}docs")
    expect(page.locator(".opblock")).to_have_count(10)
    predict = page.locator("#operations-default-predict")
    predict.locator(".opblock-summary-control").click()
    predict.get_by_role("button", name="Try it out").click()
    predict.get_by_role("button", name="Execute").click()
    expect(predict.locator(".live-responses-table .response-col_status").last).to_contain_text("200")
    assert said == []
