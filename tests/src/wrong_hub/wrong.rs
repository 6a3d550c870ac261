//! What the hub may be told to do wrong: one rule each.

/// Makes the enum, and what is known of each variant, of one list.
macro_rules! wrongs {
    ($($name:ident $rule:literal $what:literal)*) => {
        /// One thing that a hub does wrong. What it says is the rule that is broken, and how.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Wrong {
            /// Nothing: the hub conforms.
            Nothing,
            $(#[doc = concat!($rule, ": ", $what, ".")] $name,)*
        }

        impl Wrong {
            /// Everything that can be done wrong; not [`Wrong::Nothing`].
            pub const ALL: &[Wrong] = &[$(Wrong::$name),*];

            /// The id of the rule that is broken; empty for [`Wrong::Nothing`].
            pub fn rule(self) -> &'static str {
                match self {
                    Wrong::Nothing => "",
                    $(Wrong::$name => $rule,)*
                }
            }

            /// Whether it can only be seen at a hub that wants tokens.
            pub fn is_about_tokens(self) -> bool {
                let rule = self.rule();
                ["FC-SES-02", "FC-SCO", "FC-SEC"].iter().any(|group| rule.starts_with(group))
            }

            /// What the hub does.
            pub fn what(self) -> &'static str {
                match self {
                    Wrong::Nothing => "does nothing wrong",
                    $(Wrong::$name => $what,)*
                }
            }
        }
    };
}

wrongs! {
    AnyContentType "FC-TRN-02" "takes an event of any content type"
    ErrorsWithoutText "FC-TRN-03" "answers errors with an empty body"
    RepeatedParameter "FC-TRN-04" "takes the first of a repeated parameter"
    NumbersAsFloats "FC-TRN-05" "passes JSON on through a parser, so that 1.10 becomes 1.1"
    NoTrailingSlash "FC-TRN-06" "answers 404 to a path that ends with a slash"
    FoldedTopics "FC-SES-01" "does not tell topics apart that differ in case only"
    AnyTopicsToken "FC-SES-02" "lets who has a token for one topic use any other"
    ScopeCaseMatters "FC-SCO-01" "compares event names in scopes with their case"
    NoScopePatterns "FC-SCO-01" "matches no pattern in a scope but the bare *"
    ReadersWrite "FC-SCO-02" "takes a read scope for a write scope"
    GrantsUnread "FC-SCO-02" "confirms events that the token may not read"
    GrantsNothing "FC-SCO-02" "answers 202 to a subscription of which nothing may be read"
    SendsUnread "FC-SCO-03" "sends events that the token may not read"
    ReplaysUnread "FC-SCO-03" "sends late joiners opens that the token may not read"
    ShowsUnread "FC-SCO-03" "shows a current context that the token may not read"
    MissingTimestamp "FC-EVT-01" "accepts an event that has no timestamp"
    CaseMatters "FC-EVT-02" "tells subscribers of events only that are spelled as they asked for them"
    AnyEventName "FC-EVT-03" "accepts any name of an event"
    IgnoresWildcards "FC-EVT-06" "matches no wildcard but the bare *"
    MissingAnchor "FC-EVT-07" "accepts an open or close without its anchor"
    MissingEvents "FC-SUB-01" "takes a subscription without hub.events for one to everything"
    SubscribedWith200 "FC-SUB-02" "answers 200 to a subscription"
    SharedEndpoint "FC-SUB-02" "gives the subscribers of a topic that ask for the same events one endpoint"
    GuessableEndpoint "FC-SUB-02" "numbers its endpoints"
    RepeatedEvents "FC-SUB-03" "delivers an event as often as hub.events names it"
    KeepsOldEvents "FC-SUB-04" "adds the events of a repeated subscription to the former ones"
    SecondSubscription "FC-SUB-04" "answers a repeated subscription with a new endpoint"
    AnyLease "FC-SUB-05" "grants its default lease to who asks for none or for nonsense"
    NamelessSubscribers "FC-SUB-06" "forgets subscriber.name"
    NoReplay "FC-SUB-08" "sends late joiners no open"
    ReplaysClosed "FC-SUB-08" "sends late joiners what has been closed, too"
    ReplaysUnasked "FC-SUB-08" "sends late joiners opens that they did not subscribe to"
    NoDenial "FC-SUB-09" "closes the socket after an unsubscribe without a denial"
    ClosesWith1006 "FC-SUB-09" "cuts the connection after the denial, without a Close frame"
    DenialWithoutTopic "FC-SUB-10" "leaves hub.topic out of the denial"
    NoConfirmation "FC-WSC-01" "sends no confirmation"
    NoLease "FC-WSC-01" "leaves hub.lease_seconds out of the confirmation"
    UnknownEndpoint "FC-WSC-02" "upgrades a request to an unknown endpoint, and closes the socket then"
    NumericStatus "FC-WSC-03" "does not understand an answer whose status is a number"
    NoStatusRefuses "FC-WSC-03" "takes an answer without status for a refusal"
    StrangeObject "FC-WSC-05" "closes the socket upon an object that is no answer"
    NoTimestamp "FC-NOT-01" "sends notifications without their timestamp"
    NoSyncError "FC-NOT-02" "tells nobody of a refusal"
    SyncErrorToAll "FC-NOT-02" "sends the SyncError about a refusal also to the one that refused"
    SyncErrorOfWhat "FC-NOT-03" "leaves the id of the refused event out of the SyncError"
    SyncErrorEchoes "FC-NOT-05" "sends a SyncError about a refused SyncError"
    SyncErrorOnLeaving "FC-NOT-05" "sends a SyncError when a subscriber closes its socket with 1000"
    Reorders "FC-NOT-08" "sends every fifth event of a topic late to every second subscriber"
    PublishedWith200 "FC-REQ-01" "answers 200 to an event"
    AnyTopicInPath "FC-REQ-01" "accepts an event at the path of another topic"
    NotTheRequester "FC-REQ-02" "takes who subscribed first for the requester, and tells only the others, if any"
    NewId "FC-REQ-02" "gives the broadcast an id of its own"
    EventsUnasked "FC-REQ-02" "sends every event to every subscriber of the topic"
    LosesOneOfTwo "FC-REQ-02" "broadcasts one event only of those that come at once"
    TakesHeartbeats "FC-REQ-03" "accepts a posted heartbeat"
    NeedsSubscribers "FC-REQ-04" "forgets an event that comes when nobody is subscribed"
    DropsResends "FC-REQ-05" "does not broadcast an event again that it has broadcast before"
    ChunkedAnswer "FC-REQ-08" "answers an event with an empty chunked body"
    NoGetCurrentSupport "FC-CNF-01" "leaves getCurrentSupport out of its configuration"
    NoVersionInContext "FC-CTX-01" "leaves context.versionId out of the current context"
    CurrentAfterClose "FC-CTX-02" "keeps showing the current context after its close"
    NextBecomesCurrent "FC-CTX-02" "makes the context opened before current when the current one is closed"
    UnseenTopicIs404 "FC-CTX-03" "answers 404 for a topic that it has never seen"
    NoContent "FC-CTX-04" "leaves the content out of the current context"
    OneVersion "FC-CNT-01" "gives every open the same version"
    StaleVersion "FC-CNT-02" "accepts an update of an old version"
    HalfABundle "FC-CNT-03" "keeps what a refused Bundle has changed before its first mistake"
    NoPriorVersion "FC-CNT-04" "leaves context.priorVersionId out of the broadcast of an update"
    BothWin "FC-CNT-05" "accepts all of the updates of one version that come at once"
    SelectClears "FC-CNT-06" "empties the content with a select"
    SelectOfClosed "FC-CNT-06" "accepts a select of what is not open"
    OutlivesClose "FC-CNT-07" "keeps the content of a context after its close, for when it is opened again"
    ReopenClears "FC-CNT-10" "empties the content of an open context that is opened again"
    OneOfAType "FC-CNT-10" "closes a context when another of its type is opened"
    NoTokenNeeded "FC-SEC-01" "serves who has no token"
    AnyToken "FC-SEC-01" "takes any token for a good one"
    NoChallenge "FC-SEC-01" "answers 401 without WWW-Authenticate"
    OutlivesToken "FC-SEC-04" "grants a lease that ends after the token"
}
