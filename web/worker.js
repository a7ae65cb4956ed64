// A machine in a Web Worker.

import { serve } from "./service.js";

const receive = serve((message, transfer = []) => postMessage(message, transfer));
onmessage = (event) => receive(event.data);
