//! What may be distorted: one rule each.

/// Makes the enum, and what is known of each variant, of one list.
macro_rules! distortions {
    ($($name:ident $rule:literal $what:literal)*) => {
        /// One thing that is changed on the way. What it says is the rule that is broken, and how.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Distortion {
            /// Nothing: the hub is shown as it is.
            None,
            $(#[doc = concat!($rule, ": ", $what, ".")] $name,)*
        }

        impl Distortion {
            /// Everything that can be distorted; not [`Distortion::None`].
            pub const ALL: &[Distortion] = &[$(Distortion::$name),*];

            /// The id of the rule that is broken; empty for [`Distortion::None`].
            pub fn rule(self) -> &'static str {
                match self {
                    Distortion::None => "",
                    $(Distortion::$name => $rule,)*
                }
            }

            /// What is done.
            pub fn what(self) -> &'static str {
                match self {
                    Distortion::None => "distorts nothing",
                    $(Distortion::$name => $what,)*
                }
            }
        }
    };
}

distortions! {
    NoDescription "FC-TRN-03" "empties the body of error answers"
    SecretEchoed "FC-TRN-03" "appends hub.secret to the description of an error"
    NoCors "FC-TRN-07" "removes every Access-Control header"
    AnyOriginWithCredentials "FC-TRN-07" "allows every origin by *, and credentials"
    LeaseOutlived "FC-SUB-07" "swallows a denial that nobody asked for, and keeps the socket open"
    GoingAwayWith1000 "FC-SUB-11" "closes sockets with 1000 where the hub says 1001"
    ReplacedWith1000 "FC-WSC-04" "closes replaced sockets with 1000 instead of 4000"
    BinaryIgnored "FC-WSC-05" "swallows the binary frames of apps"
    NoHeartbeats "FC-WSC-06" "swallows heartbeats"
    NoPings "FC-WSC-07" "swallows the hub's pings, and answers them itself"
    DeadAfterDrop "FC-WSC-08" "answers 404 to who comes back after a drop"
    MissedIsLost "FC-WSC-08" "swallows what was posted before an app came back to its endpoint"
    LongSecrets "FC-WHK-01" "answers 202 where a secret of 200 bytes or more is refused"
    VerifiedWithoutQuery "FC-WHK-02" "leaves the callback's own query out of the verification"
    Unverified "FC-WHK-02" "confirms every intent itself, without asking the callback"
    AnyChallenge "FC-WHK-02" "takes any answer of the callback for the challenge"
    DeliveredWithoutQuery "FC-WHK-03" "leaves the callback's own query out of deliveries"
    Unsigned "FC-WHK-03" "removes the signature of deliveries"
    SignedWithSha1 "FC-WHK-03" "signs deliveries with HMAC-SHA-1"
    RefusalRetried "FC-WHK-04" "tells the hub 503 where the callback refuses, so that it tries again"
    NothingRetried "FC-WHK-04" "tells the hub 200 where the callback asks for another try"
    GoneStays "FC-WHK-04" "tells the hub 400 where the callback says 410"
    NoDenialToCallback "FC-WHK-05" "swallows denials to callbacks"
    DeliveriesSwapped "FC-WHK-06" "delivers every second event of a callback after the one that follows"
    NewIdOnRetry "FC-WHK-07" "gives a delivery that is tried again another id"
    CallbackWithoutTimestamp "FC-NOT-01" "removes the timestamp of deliveries to callbacks"
    SyncErrorWithoutSubscriber "FC-NOT-03" "removes the subscriber from the details of the hub's SyncErrors"
    SyncErrorOfOtherCode "FC-NOT-03" "gives the issue of the hub's SyncErrors the code invalid"
    SilentAboutAbsence "FC-NOT-04" "swallows the hub's SyncErrors about who is gone or does not answer"
    NoDerivedOpens "FC-NOT-07" "swallows derived opens"
    DerivedWithSourceId "FC-NOT-07" "gives derived opens the id of the event that they are derived from"
    SwappedForOne "FC-NOT-08" "sends every second event late to every second socket of a topic"
    RetryBroadcastTwice "FC-REQ-07" "adds a space to an event that is posted again within 5 s"
    MetadataWithoutExtension "FC-CNF-02" "removes the extensions from the metadata"
    NoExtensions "FC-EXT-01" "removes extensions from the context of notifications"
    NoContent "FC-CTX-04" "removes the content from the current context"
    NoPriorVersion "FC-CNT-04" "removes context.priorVersionId from notifications"
    RaceWithoutLoser "FC-CNT-05" "answers 202 to an update that lost against one that came at once"
    TooLargeIs400 "FC-CNT-08" "answers 400 where the hub says 413"
    RedirectsFollowed "FC-SEC-02" "follows the redirects of callbacks"
    SecretReturned "FC-SEC-03" "returns hub.secret in the answer to a subscription"
}
