// The web socket: texts are the status, binary messages a picture with a header. It opens again when it breaks off.

const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 5000;

export function connect({ onStatus, onPicture, onConnection }) {
  let retryMs = FIRST_RETRY_MS;

  function open() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/api/live`);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      retryMs = FIRST_RETRY_MS;
      onConnection(true);
    };
    socket.onclose = () => {
      onConnection(false);
      setTimeout(open, retryMs);
      retryMs = Math.min(2 * retryMs, LAST_RETRY_MS);
    };
    socket.onmessage = async ({ data }) => {
      if (typeof data === "string") {
        onStatus(JSON.parse(data));
        return;
      }
      try {
        const { header, jpeg } = parse(data);
        await onPicture(header, await createImageBitmap(jpeg));
      } finally {
        // Only now may the server send another one: pictures never pile up on the way.
        if (socket.readyState === WebSocket.OPEN) socket.send("shown");
      }
    };
  }
  open();
}

function parse(data) {
  const length = new DataView(data).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
  return { header, jpeg: new Blob([new Uint8Array(data, 4 + length)], { type: "image/jpeg" }) };
}
