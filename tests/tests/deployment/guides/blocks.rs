//! The blocks of code of a page, and what the words behind their language mean to a test; a reader does not see them.
//!
//! - `bash`: is run, in the page's order. With `terminal=N` it goes on in the background, as in another terminal.
//! - `text`: what the command before it prints; with `terminal=N`, what that terminal shows next. `…` is anything.
//! - any language with `of=FILE`: stands in that file, as it is here.
//! - `sh`: what cannot be run here again, such as `make`.

/// A block of code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    pub language: String,
    pub terminal: usize,
    pub of: Option<String>,
    pub text: String,
    /// The line on which it begins, from 1.
    pub line: usize,
}

/// The terminal in which one waits for each command.
pub const FIRST: usize = 1;

/// The blocks of a page, in their order.
pub fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(words) = line.trim_start().strip_prefix("```") else { continue };
        let text: Vec<&str> = lines
            .by_ref()
            .map(|(_, line)| line)
            .take_while(|line| !line.trim_start().starts_with("```"))
            .collect();
        let mut words = words.split_whitespace();
        let language = words.next().unwrap_or_default().to_owned();
        let mut block =
            Block { language, terminal: FIRST, of: None, text: text.join("\n"), line: number + 1 };
        for word in words {
            match word.split_once('=') {
                Some(("terminal", terminal)) => block.terminal = terminal.parse().unwrap(),
                Some(("of", file)) => block.of = Some(file.to_owned()),
                _ => panic!("line {}: {word} means nothing", block.line),
            }
        }
        blocks.push(block);
    }
    blocks
}

/// Does a page that shows this tell the truth about what has been printed?
pub fn shows(shown: &str, printed: &str) -> bool {
    let mut parts = shown.split('…');
    let Some(mut rest) = printed.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some((_, behind)) = rest.split_once(part) else { return false };
        rest = behind;
    }
    rest.ends_with(last)
}

#[test]
fn blocks_are_read_with_their_words() {
    let found = blocks("a\n```bash terminal=2\nx\ny\n```\n\n```js of=f.mjs\nz\n```\n```\npicture\n```\n");
    let read: Vec<_> = found
        .iter()
        .map(|block| {
            (block.language.as_str(), block.terminal, block.of.as_deref(), block.text.as_str(), block.line)
        })
        .collect();
    assert_eq!(
        read,
        [("bash", 2, None, "x\ny", 2), ("js", 1, Some("f.mjs"), "z", 7), ("", 1, None, "picture", 10)]
    );
}

#[test]
fn what_is_shown_must_be_what_is_printed_but_where_it_is_left_out() {
    for (shown, printed) in [("a", "a"), ("a…", "abc"), ("a…c", "abc"), ("a…c", "ac"), ("…b…", "abc")]
    {
        assert!(shows(shown, printed), "{shown} {printed}");
    }
    for (shown, printed) in [("a", "ab"), ("b", "ab"), ("a…c", "ab"), ("a…b…c", "acb"), ("a…a", "a")]
    {
        assert!(!shows(shown, printed), "{shown} {printed}");
    }
}
