// A FHIRcast subscriber without dependencies, for browsers and for Node.js 22 or newer, whose own fetch and WebSocket it
// uses. docs/INTEGRATING.md says why it does what it does. Copy it into your app and change what you like.

/** Requests are tried so often while the hub cannot answer. */
const TRIES = 5;
/** Less than the 5 s within which a hub knows a request that is sent again. */
const REQUEST_MS = 4_000;
/** Heartbeats come every ten seconds: after so long without a message the connection is dead. */
const SILENCE_MS = 25_000;
/** Notifications that are remembered, to tell one that comes twice. */
const REMEMBERED = 1_000;
/** Codes with which the hub says that this program is broken: to connect again would not help. */
const BROKEN = [1002, 1003, 1007, 1008, 1009];

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** The hub has refused a request; the message is its text, which names what was wrong. */
export class Refused extends Error {
  constructor(status, text) {
    super(text.trim());
    this.status = status;
  }
}

/** One subscription over a WebSocket, for as long as the app wants it. */
export class Subscriber {
  #options;
  #endpoint;
  #socket;
  #timers = {};
  #queue = Promise.resolve();
  #known = new Set();
  #own = new Set();
  #denial;

  /**
   * - `hub`, `topic`: as the launch named them (`hub.url`, `hub.topic`).
   * - `events`: what to subscribe to, such as `["Patient-open", "Patient-close", "syncerror", "heartbeat"]`.
   * - `name`: what others are told when this app does not follow.
   * - `token`: gives a good access token, or a promise of one; asked before each request.
   * - `onEvent(event, { id, timestamp, own })`: follows an event, and gives the status to answer with; none is 200, and
   *   an exception 500. Called for one event after the other. `own`: this subscriber has published it.
   * - `onState(state, detail)`: "connected" with the events that were granted, "away", "ended" and why.
   */
  constructor(options) {
    this.#options = { token: () => undefined, onEvent: () => {}, onState: () => {}, ...options };
  }

  /** Subscribes and connects; resolves when the hub has confirmed it. */
  async start() {
    await this.#subscribe();
    await new Promise((resolve) => this.#connect(0, resolve));
  }

  /** Unsubscribes. The hub says so on the socket, and closes it. */
  async stop() {
    const { topic } = this.#options;
    await this.#post(new URLSearchParams({
      "hub.channel.type": "websocket",
      "hub.channel.endpoint": this.#endpoint,
      "hub.mode": "unsubscribe",
      "hub.topic": topic,
    }));
  }

  /** Requests a context change; `more` are members of the event, such as `context.versionId`. Gives the event's id. */
  async publish(name, context, more = {}) {
    const id = crypto.randomUUID();
    const event = { "hub.topic": this.#options.topic, "hub.event": name, ...more, context };
    this.#own.add(id);
    // Written once: what is sent again must be the same, byte for byte.
    const body = JSON.stringify({ timestamp: new Date().toISOString(), id, event });
    await this.#post(body, { "Content-Type": "application/json" });
    return id;
  }

  /** The current context of the session, with its shared content. */
  async current() {
    const { hub, topic } = this.#options;
    return (await this.#ask(`${hub}/${encodeURIComponent(topic)}`, {})).json();
  }

  async #subscribe(endpoint) {
    const { topic, events, name, leaseSeconds } = this.#options;
    const form = new URLSearchParams({
      "hub.channel.type": "websocket",
      "hub.mode": "subscribe",
      "hub.topic": topic,
      "hub.events": events.join(","),
    });
    if (name) form.set("subscriber.name", name);
    if (leaseSeconds) form.set("hub.lease_seconds", leaseSeconds);
    if (endpoint) form.set("hub.channel.endpoint", endpoint);
    this.#endpoint = (await (await this.#post(form)).json())["hub.channel.endpoint"];
  }

  #post(body, headers = {}) {
    return this.#ask(this.#options.hub, { method: "POST", body, headers });
  }

  /** Asks until there is an answer: not now (429, 503) and no answer at all are tried again, everything else is final. */
  async #ask(url, request) {
    for (let attempt = 1; ; attempt += 1) {
      const token = await this.#options.token();
      const headers = { ...request.headers, ...(token && { Authorization: `Bearer ${token}` }) };
      let after = 0;
      try {
        const answer = await fetch(url, { ...request, headers, signal: AbortSignal.timeout(REQUEST_MS) });
        if (answer.ok) return answer;
        const refused = new Refused(answer.status, await answer.text());
        if (![429, 503].includes(answer.status) || attempt === TRIES) throw refused;
        after = 1000 * Number(answer.headers.get("Retry-After") ?? 1);
      } catch (error) {
        if (error instanceof Refused || attempt === TRIES) throw error;
      }
      await pause(after);
    }
  }

  #connect(attempt, confirmed = () => {}) {
    const socket = new WebSocket(this.#endpoint);
    this.#socket = socket;
    let failures = attempt + 1;
    const gone = (code, reason) => {
      if (this.#socket !== socket) return;
      this.#socket = undefined;
      this.#closed(code, reason, failures, confirmed);
    };
    socket.onclose = ({ code, reason }) => gone(code, reason);
    // Node.js 22 tells no more than this of a connection that was never made; browsers close it besides.
    socket.onerror = () => socket.readyState === WebSocket.CONNECTING && gone(1006, "");
    socket.onmessage = ({ data }) => {
      failures = 0;
      if (this.#wantsHeartbeats()) this.#later("silence", SILENCE_MS, () => this.#silent(socket, gone));
      // One after the other, also if following one takes its time.
      this.#queue = this.#queue.then(() => this.#hear(socket, JSON.parse(data), confirmed));
    };
  }

  #wantsHeartbeats() {
    return this.#options.events.some((name) => name.toLowerCase() === "heartbeat");
  }

  /** The connection is dead though nobody has closed it, as after a laptop's sleep. */
  #silent(socket, gone) {
    socket.onmessage = null;
    socket.close();
    gone(1006, "no heartbeat");
  }

  async #hear(socket, message, confirmed) {
    if (message["hub.mode"] === "subscribe") {
      // Well before the lease ends; no timer is longer than 2^31 ms.
      const lease = Math.min(message["hub.lease_seconds"] * 800, 2 ** 31 - 1);
      this.#later("renewal", lease, () => this.#renew());
      this.#options.onState("connected", message["hub.events"]);
      confirmed();
    } else if (message["hub.mode"] === "denied") {
      this.#denial = message["hub.reason"];
    } else {
      const status = await this.#follow(message);
      if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ id: message.id, status }));
    }
  }

  async #follow({ id, timestamp, event }) {
    if (event["hub.event"].toLowerCase() === "heartbeat") return 200;
    // What is sent again after a connection was lost is the same event in the same version. The same event in another
    // version was published again, to bring everybody back to it.
    const mark = `${id} ${event["context.versionId"]}`;
    if (this.#known.has(mark)) return 200;
    try {
      const status = (await this.#options.onEvent(event, { id, timestamp, own: this.#own.has(id) })) ?? 200;
      if (status < 300) this.#remember(mark);
      return status;
    } catch {
      return 500;
    }
  }

  #remember(mark) {
    this.#known.add(mark);
    if (this.#known.size > REMEMBERED) this.#known.delete(this.#known.values().next().value);
  }

  async #renew() {
    try {
      await this.#subscribe(this.#endpoint);
    } catch (error) {
      // One that is gone is noticed when its socket closes.
      if (error.status !== 404) this.#later("renewal", 10_000, () => this.#renew());
    }
  }

  #closed(code, reason, failures, confirmed) {
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    const isExpired = code === 1000 && this.#denial === "lease expired";
    if (code === 4000 || BROKEN.includes(code) || (code === 1000 && !isExpired)) {
      this.#options.onState("ended", this.#denial ?? `${code} ${reason}`);
      return;
    }
    this.#options.onState("away", `${code} ${reason}`.trim());
    this.#comeBack(isExpired, failures, confirmed);
  }

  /** To the same endpoint, which goes on where it was; if that has ended, to a new one, which begins with what is open. */
  async #comeBack(isExpired, failures, confirmed) {
    this.#denial = undefined;
    try {
      // By chance, so that not all apps of a hub that has died come at the same moment.
      await pause(Math.random() * Math.min(250 * 2 ** failures, 5_000));
      if (isExpired) await this.#subscribe();
      // A page is not told that the endpoint is unknown (404); who renews it is.
      else if (failures > 0) await this.#subscribe(this.#endpoint);
    } catch (error) {
      if (error.status === 404) return this.#comeBack(true, failures, confirmed);
      if (error.status && ![429, 503].includes(error.status)) {
        this.#options.onState("ended", `${error.status} ${error.message}`);
        return;
      }
      return this.#comeBack(isExpired, failures + 1, confirmed);
    }
    this.#connect(failures, confirmed);
  }

  #later(name, ms, action) {
    clearTimeout(this.#timers[name]);
    this.#timers[name] = setTimeout(action, ms);
  }
}
