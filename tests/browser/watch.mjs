// Opens the demo in headless Chromium and reports what its pages saw, as JSON lines on stdout.
//
//   node watch.mjs '{"pages": [{"name": "…", "url": "…", "start": true}], "steps": 100, "seconds": 60, "screenshot": "dir/name"}'
//
// `start` presses the button; without it the page watches what its URL names. After "ready" (every page is connected)
// the caller may do what it likes with the servers. The end is "result": every page saw as many steps, or the time is
// over. In between each line on stdin is answered with "nodes", where the pages hang now, if they do. A page that throws or logs an error is a
// failure of its own.

import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const options = JSON.parse(process.argv[2] ?? "{}");
const tell = (event, fields = {}) => process.stdout.write(`${JSON.stringify({ event, ...fields })}\n`);

const browser = await chromium.launch({
  executablePath: options.chromium ?? "/usr/bin/chromium",
  // The sandbox needs rights that root in a container has not; only pages of this test are opened.
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server"],
});

async function open({ url, start }, index) {
  const context = await browser.newContext({
    viewport: options.viewport ?? { width: 1280, height: 1000 },
    colorScheme: options.scheme ?? (index % 2 === 0 ? "dark" : "light"),
  });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  // That a killed node cannot be reached, or none at all by the balancer, is what some tests are about; the browser itself
  // logs it.
  const unreachable = /ERR_|WebSocket connection to .* failed|status of 50[234]/;
  page.on("console", (message) => {
    if (message.type() === "error" && !unreachable.test(message.text())) errors.push(message.text());
  });
  await page.goto(url);
  await page.waitForFunction(() => window.__tidegate?.status === "connected");
  if (start) {
    await page.click("#start");
    await page.waitForFunction(() => Object.keys(window.__tidegate.jobs).length > 0);
  }
  return { page, errors };
}

const probe = ({ page }) => page.evaluate(() => window.__tidegate);
const seen = (state) => Object.values(state.jobs).every((job) => job.steps.length >= options.steps);

async function shoot({ page }, name) {
  await page.screenshot({ path: `${options.screenshot}-${name}.png`, fullPage: true });
}

try {
  const pages = [];
  for (const [index, wanted] of options.pages.entries()) {
    pages.push(await open(wanted, index));
  }
  const questions = createInterface({ input: process.stdin });
  questions.on("line", async () => tell("nodes", { nodes: (await Promise.all(pages.map(probe))).map(({ status, node }) => (status === "connected" ? node : "")) }));
  tell("ready");
  const deadline = Date.now() + options.seconds * 1000;
  let states = await Promise.all(pages.map(probe));
  let middle = Boolean(options.screenshot);
  while (!states.every(seen) && Date.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    states = await Promise.all(pages.map(probe));
    if (middle && Object.values(states[0].jobs).some((job) => job.steps.length >= options.steps * 0.6)) {
      middle = false;
      await shoot(pages[0], "running");
    }
  }
  // What comes twice comes late.
  await new Promise((resolve) => setTimeout(resolve, 1000));
  states = await Promise.all(pages.map(probe));
  if (options.screenshot) {
    for (const [index, page] of pages.entries()) {
      await shoot(page, options.pages[index].name);
    }
  }
  questions.close();
  tell("result", { pages: states.map((state, index) => ({ ...state, errors: pages[index].errors })) });
} catch (error) {
  tell("failed", { reason: String(error) });
  process.exitCode = 1;
} finally {
  await browser.close();
}
