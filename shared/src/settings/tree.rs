//! The shape of the settings: each is declared once, by [`settings!`], with its name, help, type, default and
//! check; reading ([`super::load`]), naming and printing ([`super::print`]) are visits of that one tree.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What is done with every setting in turn.
pub(super) trait Visitor {
    /// Meets the setting `name` (`lease.max_secs`), with one line of help, its place in the tree, and the check that
    /// a new value must pass (the reason why it fails otherwise).
    fn leaf<T: Leaf>(
        &mut self,
        name: &str,
        help: &str,
        value: &mut T,
        check: impl Fn(&T) -> Result<(), String>,
    );
}

/// A group of settings.
pub(super) trait Tree {
    /// Shows every setting of the group to `visitor`, in the order of declaration, plain ones before groups.
    /// `group` is empty for the root.
    fn visit(&mut self, group: &str, visitor: &mut impl Visitor);
}

/// How a value is written in a variable or a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Taken as it stands, even when it looks like a number or an array.
    Text,
    /// A TOML array, or elements with commas between them.
    List,
    /// A number or a boolean.
    Plain,
}

/// The type of one setting.
pub(super) trait Leaf: DeserializeOwned + Serialize {
    /// How a variable or a flag gives it.
    const FORM: Form;
    /// What a value must be, for the message when it is not.
    const EXPECTED: &'static str;
    /// Whether a value that could not be read may hold a secret: then no message repeats it.
    const MAY_BE_SECRET: bool = false;

    /// Whether [`Serialize`] leaves out a secret that this value holds.
    fn hides_a_secret(&self) -> bool {
        false
    }
}

macro_rules! leaf {
    ($($kind:ty: $form:ident, $expected:literal;)+) => {
        $(impl Leaf for $kind {
            const FORM: Form = Form::$form;
            const EXPECTED: &'static str = $expected;
        })+
    };
}

leaf! {
    bool: Plain, "true or false";
    u16: Plain, "a whole number";
    u32: Plain, "a whole number";
    u64: Plain, "a whole number";
    usize: Plain, "a whole number";
    f64: Plain, "a number";
    String: Text, "text";
    PathBuf: Text, "a path";
    SocketAddr: Text, "an IP address and a port, such as 127.0.0.1:8080";
    url::Url: Text, "a URL, such as https://hub.example.org";
    Vec<String>: List, "a list of texts";
    Vec<ipnet::IpNet>: List, "a list of networks, such as 10.0.0.0/8";
    super::audit::AuditFormat: Text, "a format";
    super::audit::AuditTarget: Text, "off, stdout or a path";
    Vec<SocketAddr>: List, "a list of IP addresses with ports, such as 10.0.0.53:53";
    Vec<super::callbacks::PortRange>: List, "a list of ports and ranges of ports, such as 443 or 8000-8999";
    super::durability::Durability: Text, "primary or replicas=N";
    super::auth::KeySource: Text, "the https URL of a JWKS, or the path of a file";
    super::values::AuthMode: Text, "a mode";
    super::values::ClientAuth: Text, "a choice";
    super::values::LogFormat: Text, "a format";
    crate::protocol::sync_error::Severity: Text, "a severity";
}

impl Leaf for super::redis_url::RedisUrl {
    const FORM: Form = Form::Text;
    const EXPECTED: &'static str = "a URL, such as redis://127.0.0.1:6379";
    const MAY_BE_SECRET: bool = true;

    fn hides_a_secret(&self) -> bool {
        self.password().is_some()
    }
}

impl Leaf for super::values::Password {
    const FORM: Form = Form::Text;
    const EXPECTED: &'static str = "text";
    const MAY_BE_SECRET: bool = true;

    fn hides_a_secret(&self) -> bool {
        true
    }
}

impl Leaf for super::tracing::CollectorHeaders {
    const FORM: Form = Form::List;
    const EXPECTED: &'static str = "a list of headers, each as name=value";
    const MAY_BE_SECRET: bool = true;

    fn hides_a_secret(&self) -> bool {
        !self.is_empty()
    }
}

impl Leaf for super::data_keys::DataKeys {
    const FORM: Form = Form::List;
    const EXPECTED: &'static str = "a list of keys, each as id:base64 of 32 bytes";
    const MAY_BE_SECRET: bool = true;

    fn hides_a_secret(&self) -> bool {
        !self.is_empty()
    }
}

impl<T: Leaf> Leaf for Option<T> {
    const FORM: Form = T::FORM;
    const EXPECTED: &'static str = T::EXPECTED;
    const MAY_BE_SECRET: bool = T::MAY_BE_SECRET;

    fn hides_a_secret(&self) -> bool {
        self.as_ref().is_some_and(T::hides_a_secret)
    }
}

/// The full name of a setting.
pub(super) fn name_in(group: &str, name: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{group}.{name}") }
}

/// Declares a group of settings: `name: type = default[, check];`, then, in `groups { … }`, the groups within it.
/// The doc comment of a setting is also its help, so it reads as one line and links to nothing.
macro_rules! settings {
    (
        $(#[doc = $about:literal])+
        pub struct $group:ident {
            $(
                $(#[doc = $help:literal])+
                $name:ident: $kind:ty = $default:expr $(, $check:expr)?;
            )*
            $(groups {
                $(
                    $(#[doc = $inner_about:literal])+
                    $inner:ident: $inner_group:ident;
                )+
            })?
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $group {
            $(
                $(#[doc = $help])+
                #[doc = ""]
                #[doc = concat!("Default: `", stringify!($default), "`.")]
                pub $name: $kind,
            )*
            $($(
                $(#[doc = $inner_about])+
                pub $inner: $inner_group,
            )+)?
        }

        impl Default for $group {
            fn default() -> Self {
                Self {
                    $($name: $default,)*
                    $($($inner: Default::default(),)+)?
                }
            }
        }

        impl $crate::settings::tree::Tree for $group {
            fn visit(&mut self, group: &str, visitor: &mut impl $crate::settings::tree::Visitor) {
                $(
                    visitor.leaf(
                        &$crate::settings::tree::name_in(group, stringify!($name)),
                        concat!($($help),+).trim(),
                        &mut self.$name,
                        $crate::settings::tree::settings!(@check $kind $(, $check)?),
                    );
                )*
                $($(
                    self.$inner.visit(
                        &$crate::settings::tree::name_in(group, stringify!($inner)),
                        visitor,
                    );
                )+)?
            }
        }
    };
    (@check $kind:ty) => { |_: &$kind| Ok(()) };
    (@check $kind:ty, $check:expr) => { |value: &$kind| ($check)(value) };
}
pub(super) use settings;
