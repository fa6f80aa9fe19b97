// A page that pins a released loader by its hash, with today's frame.
// Environment, beyond that of stage.mjs: SHOP pins a release, SPOILED_SHOP pins it by another hash.

import assert from "node:assert/strict";

import { buy, names, play, press, until, visit } from "./stage.mjs";

const { SPOILED_SHOP } = process.env;

const STORIES = {
  async a_pinned_loader_sells() {
    const visitor = await visit();
    const { src, integrity } = await visitor.page.evaluate(() => {
      const { src, integrity } = document.querySelector("script[integrity]");
      return { src, integrity };
    });
    assert.match(src, /\/assets\/sdk-\d+\.\d+\.\d+\.js$/);
    assert.match(integrity, /^sha384-/);
    await buy(visitor);
    await press(visitor, "done");
    await until(visitor, "onComplete");
    const fired = ["onLoginCompleted", "onCheckoutOpened", "onPurchaseCompleted", "onComplete"];
    assert.deepEqual(await names(visitor), fired);
    return visitor;
  },

  async a_file_of_another_hash_does_not_run() {
    const visitor = await visit({ shop: SPOILED_SHOP });
    assert.equal(await visitor.page.evaluate(() => typeof window.OpenCredits), "undefined");
    assert.ok(visitor.broken.some((line) => line.includes("integrity")), visitor.broken.join());
  },
};

await play(STORIES);
