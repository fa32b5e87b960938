// Server-sent events out of a byte stream. EventSource sends no Authorization header, so that this is read here.

/** Longest text that is kept while its end has not come. */
const MOST = 8 * 1024 * 1024;

/** Takes pieces of text, and calls with the name and the data of each event that is complete. */
export class Parser {
  #rest = "";
  #name = "";
  #data = [];
  #call;

  constructor(call) {
    this.#call = call;
  }

  push(piece) {
    this.#rest += piece;
    if (this.#rest.length > MOST) throw new Error("an event is too long");
    // A carriage return at the end may be half of a line's end.
    const held = this.#rest.endsWith("\r") ? 1 : 0;
    const lines = this.#rest.slice(0, this.#rest.length - held).split(/\r\n|\n|\r/);
    this.#rest = lines.pop() + (held ? "\r" : "");
    for (const line of lines) this.#line(line);
  }

  #line(line) {
    if (line === "") {
      if (this.#data.length) this.#call(this.#name || "message", this.#data.join("\n"));
      this.#name = "";
      this.#data = [];
      return;
    }
    const at = line.indexOf(":");
    const field = at < 0 ? line : line.slice(0, at),
      value = at < 0 ? "" : line.slice(at + 1).replace(/^ /, "");
    if (field === "event") this.#name = value;
    if (field === "data") this.#data.push(value);
  }
}

/** Reads a response to its end. `heard` is called for each piece, comments too. */
export async function readEvents(response, call, heard) {
  const parser = new Parser(call),
    decoder = new TextDecoder(),
    reader = response.body.getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    heard();
    parser.push(decoder.decode(value, { stream: true }));
  }
}
