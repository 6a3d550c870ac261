//! The pages for readers: that their links lead somewhere, and that their commands and programs do what they say.

mod blocks;
mod examples;
mod links;
mod walk;
mod walks;
