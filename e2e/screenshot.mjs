// docs/page.png, the picture in README, made from the real page.
//
//   node e2e/screenshot.mjs
import { fileURLToPath } from "node:url";

import { launch, openPage, serve } from "./browser.mjs";

const browser = await launch();
const server = await serve();
const { page, close } = await openPage(browser, `${server.url}?test=1`, { viewport: { width: 1100, height: 760 }, colorScheme: "dark", deviceScaleFactor: 1.5 });
await page.waitForFunction(() => window.machine?.serial(0).text().includes("# ") || window.machine?.console().text().includes("# "));
for (const line of ["uname -a", "grep -m 5 . /proc/cpuinfo", "echo Привет, мир"]) {
  await page.keyboard.type(line);
  await page.keyboard.press("Enter");
  await page.waitForTimeout(1500);
}
await page.screenshot({ path: fileURLToPath(new URL("../docs/page.png", import.meta.url)) });
await close();
await browser.close();
server.close();
