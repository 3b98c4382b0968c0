// The thread in which a browser computes; see tagger.js, which starts it.

import { serve } from "./engine.js";

const { port1, port2 } = new MessageChannel();

/** Wait until messages that have come are taken. */
function pause() {
  return new Promise((done) => {
    port1.onmessage = () => done();
    port2.postMessage(null);
  });
}

const take = serve((message, transfer) => self.postMessage(message, transfer), pause);
self.onmessage = ({ data }) => take(data);
