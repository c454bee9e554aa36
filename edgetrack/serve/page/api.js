// Requests to the server. Each returns the answer, or throws an Error with the server's one line.

async function answerOf(response) {
  let body = {};
  try {
    body = await response.json();
  } catch {
    // An answer without JSON has nothing to tell but its status.
  }
  if (!response.ok) throw new Error(body.error ?? `the server answered ${response.status}`);
  return body;
}

async function fetched(path, options) {
  try {
    return await fetch(path, options);
  } catch {
    throw new Error("the server cannot be reached; is it still running?");
  }
}

export async function get(path) {
  return answerOf(await fetched(path));
}

export async function post(command, body = {}) {
  const options = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  return (await answerOf(await fetched(`/api/${command}`, options))).result;
}

// XMLHttpRequest, because fetch does not tell how much was sent.
export function upload(kind, file, onProgress = () => {}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `/api/uploads/${kind}`);
    request.setRequestHeader("content-type", "application/octet-stream");
    request.setRequestHeader("x-file-name", encodeURIComponent(file.name));
    request.responseType = "json";
    request.upload.onprogress = (event) => onProgress(event.loaded / event.total);
    request.onload = () => {
      if (request.status === 200) resolve(request.response);
      else reject(new Error(request.response?.error ?? `the server answered ${request.status}`));
    };
    request.onerror = () => reject(new Error("the upload broke off; the file may be too large, or the server gone"));
    request.send(file);
  });
}
