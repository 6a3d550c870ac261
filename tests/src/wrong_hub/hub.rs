//! What the hub knows: its sessions and subscriptions, and who is told what.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use actix::Addr;
use serde_json::json;
use uuid::Uuid;

use super::Wrong;
use super::grant::Grant;
use super::message::{Event, Filter, Refusal, as_sent, bad};
use super::session::Session;
use super::socket::{Order, Socket};

/// The lease of who asks for none, in seconds.
pub const DEFAULT_LEASE_SECS: u64 = 7200;
/// The longest lease, in seconds.
const MAX_LEASE_SECS: u64 = 86_400;

/// The hub, whatever it is asked over.
pub struct Hub {
    pub wrong: Wrong,
    /// Whether requests must carry a token.
    pub wants_tokens: bool,
    /// The URL that endpoints begin with.
    pub endpoints: String,
    /// How many events have come, if that matters.
    pub coming: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    sessions: HashMap<String, Session>,
    subscriptions: Vec<Subscription>,
    /// How many endpoints there have been.
    endpoints: usize,
}

/// What a subscriber asks for.
pub struct Terms {
    pub topic: String,
    /// What was granted of that.
    pub events: Filter,
    /// What was asked for.
    pub asked: Filter,
    pub lease_secs: u64,
    pub name: Option<String>,
}

struct Subscription {
    id: String,
    terms: Terms,
    since: Instant,
    /// One, but where subscribers share an endpoint.
    sockets: Vec<Addr<Socket>>,
    /// The names of the events that are not answered yet, by their ids.
    unanswered: HashMap<String, String>,
}

impl Subscription {
    fn send(&self, order: &Order) {
        self.sockets.iter().for_each(|socket| socket.do_send(order.clone()));
    }

    /// What was granted, or all that was asked for.
    fn events(&self, all: bool) -> &Filter {
        if all { &self.terms.asked } else { &self.terms.events }
    }

    fn confirmation(&self, wrong: Wrong) -> Option<String> {
        let left = self.terms.lease_secs.saturating_sub(self.since.elapsed().as_secs());
        let mut confirmation = json!({"hub.mode": "subscribe", "hub.topic": self.terms.topic,
            "hub.events": self.events(wrong == Wrong::GrantsUnread).0.join(","), "hub.lease_seconds": left});
        if wrong == Wrong::NoLease {
            confirmation.as_object_mut()?.remove("hub.lease_seconds");
        }
        (wrong != Wrong::NoConfirmation).then(|| confirmation.to_string())
    }
}

impl Hub {
    pub fn new(wrong: Wrong, wants_tokens: bool, endpoints: String) -> Hub {
        Hub { wrong, wants_tokens, endpoints, coming: AtomicUsize::new(0), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Subscribes, anew or again (FC-SUB-02, FC-SUB-04); answers with the endpoint.
    pub fn subscribe(&self, mut terms: Terms, endpoint: Option<&str>) -> Result<String, Refusal> {
        terms.lease_secs = terms.lease_secs.min(MAX_LEASE_SECS);
        let mut state = self.state();
        let known = match endpoint.filter(|_| self.wrong != Wrong::SecondSubscription) {
            Some(endpoint) => Some(state.known(&terms.topic, endpoint)?),
            None if self.wrong == Wrong::SharedEndpoint => {
                let is_same = |one: &Terms| (&one.topic, &one.events) == (&terms.topic, &terms.events);
                state.subscriptions.iter().position(|known| is_same(&known.terms))
            }
            None => None,
        };
        let Some(at) = known else {
            state.endpoints += 1;
            let id = match self.wrong {
                Wrong::GuessableEndpoint => state.endpoints.to_string(),
                _ => format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()),
            };
            let endpoint = format!("{}{id}", self.endpoints);
            let (since, unanswered) = (Instant::now(), HashMap::new());
            state.subscriptions.push(Subscription { id, terms, since, sockets: Vec::new(), unanswered });
            return Ok(endpoint);
        };
        let subscription = &mut state.subscriptions[at];
        if self.wrong == Wrong::KeepsOldEvents {
            terms.events.0.append(&mut subscription.terms.events.0.clone());
        }
        (subscription.terms, subscription.since) = (terms, Instant::now());
        if endpoint.is_some()
            && let Some(confirmation) = subscription.confirmation(self.wrong)
        {
            subscription.send(&Order::Send(confirmation));
        }
        Ok(format!("{}{}", self.endpoints, subscription.id))
    }

    /// Ends a subscription with a denial (FC-SUB-09, FC-SUB-10).
    pub fn unsubscribe(&self, topic: &str, endpoint: &str) -> Result<(), Refusal> {
        let mut state = self.state();
        let at = state.known(topic, endpoint)?;
        let subscription = state.subscriptions.remove(at);
        let mut denial = json!({"hub.mode": "denied", "hub.events": subscription.terms.events.0.join(","),
            "hub.reason": "unsubscribed"});
        if self.wrong != Wrong::DenialWithoutTopic {
            denial["hub.topic"] = topic.into();
        }
        if self.wrong != Wrong::NoDenial {
            subscription.send(&Order::Send(denial.to_string()));
        }
        subscription.send(&if self.wrong == Wrong::ClosesWith1006 { Order::Cut } else { Order::Close(1000) });
        Ok(())
    }

    /// A socket has come to an endpoint: what it is sent first; `None` if there is no such endpoint.
    pub fn connect(&self, id: &str, socket: Addr<Socket>) -> Option<Vec<String>> {
        let state = &mut *self.state();
        let subscription = state.subscriptions.iter_mut().find(|subscription| subscription.id == id)?;
        if self.wrong != Wrong::SharedEndpoint {
            subscription.send(&Order::Close(4000));
            subscription.sockets.clear();
        }
        subscription.sockets.push(socket);
        let mut first = Vec::from_iter(subscription.confirmation(self.wrong));
        if let Some(session) = state.sessions.get(&subscription.terms.topic) {
            for open in session.replay(subscription.events(self.wrong == Wrong::ReplaysUnread), self.wrong) {
                if let Ok(event) = Event::read(&open, self.wrong) {
                    subscription.unanswered.insert(event.id, event.name);
                }
                match self.wrong {
                    Wrong::NewId => first.push(open),
                    wrong => first.extend(as_sent(&open, wrong).ok()),
                }
            }
        }
        Some(first)
    }

    /// Is there such an endpoint?
    pub fn knows(&self, id: &str) -> bool {
        self.state().subscriptions.iter().any(|subscription| subscription.id == id)
    }

    /// The answer to Get Current Context.
    pub fn current_context(&self, topic: &str, grant: &Grant) -> Result<String, Refusal> {
        let mut state = self.state();
        if self.wrong == Wrong::UnseenTopicIs404 && !state.sessions.contains_key(topic) {
            return Err((404, "there is no such topic".to_owned()));
        }
        let session = state.sessions.entry(topic.to_owned()).or_default();
        let is_unread = session.current_name().is_some_and(|name| !grant.may_read(name));
        if is_unread && self.wrong != Wrong::ShowsUnread {
            return Ok(json!({"context.type": "", "context": []}).to_string());
        }
        session.current_context(self.wrong).map_err(|error| (500, error.to_string()))
    }

    /// Takes an event and tells those who asked for it (FC-REQ-01, FC-REQ-02).
    pub fn publish(&self, event: &Event, at_once: bool) -> Result<(), Refusal> {
        let state = &mut *self.state();
        let is_heard = state.subscriptions.iter().any(|known| known.terms.topic == event.topic);
        if self.wrong == Wrong::NeedsSubscribers && !is_heard {
            return Ok(());
        }
        let session = state.sessions.entry(event.topic.clone()).or_default();
        let notification = session.apply(event, at_once, self.wrong)?;
        let is_resent = !session.posted.insert(event.id.clone());
        let is_lost = match self.wrong {
            Wrong::DropsResends => is_resent,
            Wrong::LosesOneOfTwo => at_once,
            _ => false,
        };
        if !is_lost {
            self.broadcast(state, &event.topic, (&event.id, &event.name), &notification, None)?;
        }
        Ok(())
    }

    fn broadcast(
        &self,
        state: &mut State,
        topic: &str,
        (id, name): (&str, &str),
        notification: &str,
        except: Option<&str>,
    ) -> Result<(), Refusal> {
        let Ok(sent) = as_sent(notification, self.wrong) else { return bad("the event cannot be rendered") };
        let id = Event::read(&sent, self.wrong).map_or_else(|_| id.to_owned(), |event| event.id);
        let session = state.sessions.entry(topic.to_owned()).or_default();
        session.count += 1;
        let unread = self.wrong == Wrong::SendsUnread;
        let is_late = self.wrong == Wrong::Reorders && session.count.is_multiple_of(5);
        let all = state.subscriptions.iter_mut().filter(|known| known.terms.topic == topic);
        let told = all.filter(|known| Some(known.id.as_str()) != except);
        let mut told: Vec<&mut Subscription> =
            told.filter(|known| known.events(unread).times(name, self.wrong) > 0).collect();
        if self.wrong == Wrong::NotTheRequester && told.len() > 1 {
            told.remove(0);
        }
        for (number, subscription) in told.into_iter().enumerate() {
            subscription.unanswered.insert(id.clone(), name.to_owned());
            for _ in 0..subscription.events(unread).times(name, self.wrong) {
                let is_late = is_late && number % 2 == 1;
                let order = if is_late { Order::SendLate } else { Order::Send };
                subscription.send(&order(sent.clone()));
            }
        }
        Ok(())
    }

    /// A subscriber answered a notification; a refusal is told to the others (FC-NOT-02, FC-NOT-05).
    pub fn answered(&self, id: &str, event: &str, status: u16) {
        let state = &mut *self.state();
        let Some(known) = state.subscriptions.iter_mut().find(|known| known.id == id) else { return };
        let Some(name) = known.unanswered.remove(event) else { return };
        let is_echo = name.eq_ignore_ascii_case("syncerror") && self.wrong != Wrong::SyncErrorEchoes;
        if status >= 400 && !is_echo && self.wrong != Wrong::NoSyncError {
            self.report(state, id, (event, &name), &format!("refused it with status {status}"));
        }
    }

    /// A subscriber closed its socket with 1000, which is no error (FC-NOT-05).
    pub fn left(&self, id: &str) {
        if self.wrong == Wrong::SyncErrorOnLeaving {
            self.report(&mut self.state(), id, ("none", "none"), "left");
        }
    }

    /// Sends a SyncError (FC-NOT-03).
    fn report(&self, state: &mut State, id: &str, (event, name): (&str, &str), reason: &str) {
        let Some(known) = state.subscriptions.iter().find(|known| known.id == id) else { return };
        let subscriber = known.terms.name.clone().unwrap_or_else(|| "an unnamed subscriber".to_owned());
        let (topic, own_id) = (known.terms.topic.clone(), Uuid::new_v4().to_string());
        let mut codes = vec![
            ("eventid", event),
            ("eventname", name),
            ("subscriber", &subscriber),
            ("subscribername", &subscriber),
        ];
        if self.wrong == Wrong::SyncErrorOfWhat {
            codes.remove(0);
        }
        let system = |name| format!("https://fhircast.hl7.org/events/syncerror/{name}");
        let codes = codes.into_iter().map(|(name, code)| json!({"system": system(name), "code": code}));
        let issue = json!({"severity": "warning", "code": "processing",
            "diagnostics": format!("{subscriber} {reason}: {name}"),
            "details": {"coding": codes.collect::<Vec<_>>()}});
        let outcome = json!({"resourceType": "OperationOutcome", "issue": [issue]});
        let sync_error = json!({"timestamp": "2026-01-01T00:00:00Z", "id": own_id, "event": {
            "hub.topic": topic, "hub.event": "syncerror",
            "context": [{"key": "operationoutcome", "resource": outcome}]}});
        let except = Some(id).filter(|_| self.wrong != Wrong::SyncErrorToAll);
        // What was rendered here is an event.
        let _ = self.broadcast(state, &topic, (&own_id, "syncerror"), &sync_error.to_string(), except);
    }
}

impl State {
    /// The place of the subscription with this endpoint.
    fn known(&self, topic: &str, endpoint: &str) -> Result<usize, Refusal> {
        let id = endpoint.rsplit('/').next().unwrap_or_default();
        let is_it = |known: &Subscription| known.id == id && known.terms.topic == topic;
        let place = self.subscriptions.iter().position(is_it);
        place.ok_or_else(|| (404, "hub.channel.endpoint is unknown, or has ended".to_owned()))
    }
}
