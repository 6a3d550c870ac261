//! What all programs that share a Redis have to mean alike: the format of what is kept, the number of partitions, and the
//! data keys. The first program says what it means, and so does one that finds a Redis that has lost everything; the
//! others compare.

use redis::Script;

use super::{
    connection::Target,
    keys,
    link::Wire,
    refusal::Asker,
    seal::{Place, Seal},
};
use crate::{
    format::Format,
    store::{Result, StoreError},
};

/// What the mark says.
const MARK_TEXT: &str = "fhircast";

/// Puts a number into KEYS[1] if it is greater than the one that is there; answers with that one.
const RAISE: &str = "
    local before = tonumber(redis.call('GET', KEYS[1]) or '0')
    if before < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], ARGV[1]) end
    return before";

/// Compares what this program means with what the others do.
pub struct Agreement<'a>(pub Asker<'a>);

impl Agreement<'_> {
    /// Answers with the format that all write, and whether nothing had been agreed on: then `own` is the format, that of
    /// this program.
    pub async fn reach(&self, seal: &Seal, own: Format) -> Result<(Format, bool)> {
        let format = self.on_format(own).await?;
        let is_first = self.on_partitions().await?;
        self.on_keys(seal).await?;
        Ok((format, is_first))
    }

    /// Has all programs write the newest format that this one knows. Who does not know it says so, and is not ready.
    /// Answers with the format before, and now.
    pub async fn raise_format(&self) -> Result<(Format, Format)> {
        let newest = self.0.settings.newest_format();
        self.on_format(newest).await?;
        let (script, slot) = (Script::new(RAISE), Target::Slot(keys::slot(keys::FORMAT)));
        let mut raise = script.key(keys::FORMAT);
        let raise = &*raise.arg(newest.number());
        let raise = |mut wire: Wire| async move { raise.invoke_async::<u8>(&mut wire).await };
        let before = Format::new(self.0.ask("format", slot, raise).await?);
        Ok((before, newest.max(before)))
    }

    /// A Redis that was used when nobody agreed on a format has the oldest. Who does not know the one that has been agreed
    /// on is too old.
    async fn on_format(&self, own: Format) -> Result<Format> {
        let partitions = |mut wire| async move {
            redis::cmd("EXISTS").arg(keys::PARTITIONS).query_async::<bool>(&mut wire).await
        };
        let slot = Target::Slot(keys::slot(keys::PARTITIONS));
        let first = if self.0.ask("format", slot, partitions).await? { Format::OLDEST } else { own };
        let agree = |mut wire| async move {
            let mut both = redis::pipe();
            both.cmd("SET").arg(keys::FORMAT).arg(first.number()).arg("NX").ignore().get(keys::FORMAT);
            both.query_async::<(u8,)>(&mut wire).await
        };
        let (agreed,) = self.0.ask("format", Target::Slot(keys::slot(keys::FORMAT)), agree).await?;
        let (agreed, newest) = (Format::new(agreed), self.0.settings.newest_format());
        if agreed > newest {
            return Err(StoreError::Misconfigured(format!(
                "redis.url: what this Redis keeps has format {agreed}, and this program reads and writes up to {newest}: it is older than the others, upgrade it"
            )));
        }
        Ok(agreed)
    }

    /// Is this program the first that says so?
    async fn on_partitions(&self) -> Result<bool> {
        let partitions = self.0.settings.partitions;
        let agree = |mut wire| async move {
            let mut both = redis::pipe();
            both.cmd("SET").arg(keys::PARTITIONS).arg(partitions).arg("NX").get(keys::PARTITIONS);
            both.query_async::<(Option<String>, u16)>(&mut wire).await
        };
        let slot = Target::Slot(keys::slot(keys::PARTITIONS));
        let (written, agreed) = self.0.ask("partitions", slot, agree).await?;
        if agreed != partitions {
            return Err(StoreError::Misconfigured(format!(
                "redis.partitions: it is {partitions} here and {agreed} in Redis; it cannot change while there are sessions"
            )));
        }
        Ok(written.is_some())
    }

    /// The first process that seals leaves a mark; whoever cannot open it has not the keys for what else is sealed, and
    /// would write what the others cannot open.
    async fn on_keys(&self, seal: &Seal) -> Result<()> {
        let own = seal.sealing().map(|_| mark(seal)).transpose()?;
        let own = own.as_deref();
        let agree = |mut wire| async move {
            let mut both = redis::pipe();
            if let Some(own) = own {
                both.cmd("SET").arg(keys::MARK).arg(own).arg("NX").ignore();
            }
            both.get(keys::MARK).query_async::<(Option<Vec<u8>>,)>(&mut wire).await
        };
        let (mark,) = self.0.ask("data keys", Target::Slot(keys::slot(keys::MARK)), agree).await?;
        let Some(mark) = mark else { return Ok(()) };
        // Of one that is not sealed nothing can be told.
        seal.read(Place::Mark, mark).map(|_| ()).map_err(|problem| {
            StoreError::Misconfigured(format!("data_keys: they are not those of what Redis holds: {problem}"))
        })
    }
}

/// Something sealed, by which the others find out whether they have the same keys.
pub fn mark(seal: &Seal) -> Result<Vec<u8>> {
    seal.seal(Place::Mark, MARK_TEXT)
}
