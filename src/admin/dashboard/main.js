import { get, post, Refused, token, Unauthorized, Unreachable } from './api.js';
import { byId, setText, show } from './dom.js';
import { Events } from './events.js';
import { GatewayPart } from './gateway.js';
import { Instances } from './instances.js';
import { Rates } from './rates.js';
import { Services } from './services.js';
import { age, plain, time } from './text.js';

const POLL_MS = 2000;
/** Without an answer for so long, what is shown is old whatever the reason. */
const OVERDUE_MS = 15_000;
/** A search is asked for when the typing has stopped for so long. */
const TYPING_MS = 200;

const page = byId('page', HTMLElement);
const login = byId('login', HTMLFormElement);
const rates = new Rates();
const services = new Services(rates, soon);
const instances = new Instances(rates, soon, confirmRotation);
const gateway = new GatewayPart();
const events = new Events(byId('events-rows', HTMLElement));

/** @type {string | undefined} the service that is looked at; undefined: all */
let subject;
/** Of the process that has answered last: another one counts anew. */
let startedWallMs = 0;
/** When the last answer came, by the clock of this page. @type {number | undefined} */
let heardAt;
let lost = '';
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;
let running = new AbortController();

/** Asks for everything that is shown, once; then again in a while. */
async function poll() {
  clearTimeout(timer);
  running.abort();
  running = new AbortController();
  const { signal } = running;
  try {
    await refresh(signal);
    heardAt = Date.now();
    lost = '';
  } catch (error) {
    if (signal.aborted) return;
    if (error instanceof Unauthorized) {
      askForToken(error.message);
      return;
    }
    const expected = error instanceof Unreachable || error instanceof Refused;
    lost = expected ? error.message : `a defect of this page (${String(error)})`;
    if (!expected) console.error(error);
  } finally {
    showFreshness();
  }
  if (!document.hidden) timer = setTimeout(again, POLL_MS);
}

/** @param {AbortSignal} signal */
async function refresh(signal) {
  const [overview, news] = await Promise.all([get('api/overview', signal), get(events.path, signal)]);
  if (overview.startedWallMs !== startedWallMs) {
    rates.clear();
    events.clear();
    if (startedWallMs !== 0) news.events = (await get(events.path, signal)).events;
    startedWallMs = overview.startedWallMs;
  }
  if (subject === undefined) services.show(await get(services.path, signal));
  else await refreshService(signal, overview.wallMs);
  services.showConditions(overview.services);
  gateway.show(overview);
  events.add(news.events, overview.wallMs);
  setText(byId('build', HTMLElement), overview.build.version);
  show(byId('forget', HTMLElement), token.given);
  show(login, false);
  show(page, true);
}

/** @param {AbortSignal} signal @param {number} wallMs */
async function refreshService(signal, wallMs) {
  try {
    const [report, explained] = await Promise.all(instances.paths.map((path) => get(path, signal)));
    instances.show(report, explained, wallMs);
  } catch (error) {
    if (!(error instanceof Refused && error.status === 404)) throw error;
    instances.missing(error.near.length === 0 ? error.message : `${error.message}; near: ${error.near.join(', ')}`);
  }
}

function again() {
  void poll();
}

/** What is wanted has changed. */
function soon() {
  clearTimeout(timer);
  timer = setTimeout(again, TYPING_MS);
}

/** When what is shown was true, and loudly where that is no longer now. */
function showFreshness() {
  const now = Date.now();
  // Not asked, because nobody looked, is not known either.
  const overdue = heardAt !== undefined && now - heardAt > OVERDUE_MS;
  const stale = lost !== '' || overdue;
  document.body.classList.toggle('stale', stale);
  const since = heardAt === undefined ? 'this page was opened' : time(heardAt, now);
  // Read out once: the seconds that count on are beside it, and silent.
  const words = `STALE since ${since}: ${lost || 'no answer yet'}. What is shown is what was known then.`;
  setText(byId('stale', HTMLElement), stale ? words : '');
  setText(byId('stale-age', HTMLElement), stale && heardAt !== undefined ? ` (${age(now - heardAt)} ago)` : '');
  const fresh = heardAt === undefined || stale ? '' : `as of ${time(heardAt, now)}`;
  setText(byId('freshness', HTMLElement), fresh);
}

/** @param {string} why */
function askForToken(why) {
  token.forget();
  show(page, false);
  show(byId('forget', HTMLElement), false);
  setText(byId('login-why', HTMLElement), why);
  if (!login.hidden) return;
  show(login, true);
  byId('token', HTMLInputElement).focus();
}

login.addEventListener('submit', (event) => {
  event.preventDefault();
  const input = byId('token', HTMLInputElement);
  // Nothing else may stand in a header, and no token has anything else in it.
  const given = input.value.trim();
  input.value = '';
  if (!/^[\x21-\x7e]+$/.test(given)) {
    setText(byId('login-why', HTMLElement), 'A token has neither spaces nor letters beyond ASCII.');
    return;
  }
  token.set(given);
  again();
});

byId('forget', HTMLElement).addEventListener('click', () => {
  clearTimeout(timer);
  running.abort();
  askForToken('The token is forgotten.');
});

/** @param {string} service @param {import('./instances.js').Instance} instance */
function confirmRotation(service, { id, drained, inflight }) {
  const verb = drained ? 'Undrain' : 'Drain';
  const dialog = byId('confirm', HTMLDialogElement);
  const yes = byId('confirm-yes', HTMLButtonElement);
  setText(byId('confirm-title', HTMLElement), `${verb} ${id}?`);
  const effect = drained
    ? 'It may take traffic again, if nothing else is against it.'
    : `It takes nothing new; ${inflight} in flight may end. Drained it stays until it is undrained.`;
  setText(byId('confirm-text', HTMLElement), `Instance ${id} of ${service}. ${effect}`);
  setText(yes, verb);
  yes.onclick = () => {
    dialog.close();
    void rotate(service, id, drained ? 'undrain' : 'drain');
  };
  byId('confirm-no', HTMLButtonElement).onclick = () => dialog.close();
  dialog.showModal();
}

/** @param {string} service @param {string} id @param {'drain' | 'undrain'} verb */
async function rotate(service, id, verb) {
  const said = byId('said', HTMLElement);
  setText(said, `${verb} ${id} …`);
  try {
    await post(`api/services/${encodeURIComponent(service)}/instances/${encodeURIComponent(id)}/${verb}`);
    setText(said, `${id} of ${service} is ${verb}ed.`);
  } catch (error) {
    setText(said, `${id} of ${service} was not ${verb}ed: ${error instanceof Error ? error.message : plain(error)}`);
    if (error instanceof Unauthorized) askForToken(error.message);
  }
  again();
}

/** The address says what is looked at, so that it can be kept and sent to others. */
function navigate() {
  const [, name] = /^#\/service\/([^/]+)$/.exec(location.hash) ?? [];
  subject = name === undefined ? undefined : decoded(name);
  const one = subject !== undefined;
  for (const id of ['glance', 'services', 'registries', 'gateway']) show(byId(id, HTMLElement), !one);
  show(byId('service', HTMLElement), one);
  rates.clear();
  events.of(subject);
  if (subject !== undefined) instances.open(subject);
  document.title = subject === undefined ? 'Fairlead' : `${plain(subject)} – Fairlead`;
  again();
}

/** @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

addEventListener('hashchange', () => {
  // A link to a part of this page leads nowhere else.
  if (location.hash !== '' && !location.hash.startsWith('#/')) return;
  navigate();
  byId(subject === undefined ? 'main' : 'service-title', HTMLElement).focus();
});
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) again();
});
setInterval(showFreshness, 1000);
navigate();
