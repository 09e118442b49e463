//! The operations of one connection, one after the other, from a seed.

use super::config::{Config, SizeMix};
use super::random::Seeded;
use super::register::Kind;
use crate::nbd_client::ExportInfo;

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A write of data, of zeroes, or a trim.
    Change {
        /// Which of them, for the ledger.
        kind: Kind,
        /// Whether zeroes are sent as TRIM.
        trim: bool,
        /// Whether the answer waits for stable storage.
        fua: bool,
    },
    /// A read, checked at once.
    Read,
    /// A flush.
    Flush,
}

/// One operation. A flush has no units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// What it does.
    pub action: Action,
    /// The first unit of the volume that it concerns.
    pub first_unit: u64,
    /// How many units it concerns.
    pub units: u32,
}

/// Where one connection works, in units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Units of the volume that are in use.
    pub span: u64,
    /// Units at the beginning that all connections write.
    pub hot: u64,
    /// The first unit of this connection's own part.
    pub own_first: u64,
    /// The length of this connection's own part; may be 0.
    pub own: u64,
}

impl Place {
    /// Divides the span: a hot area, then one part for each connection.
    pub fn of(config: &Config, span: u64, connection: u32) -> Self {
        let unit = u64::from(config.unit_bytes);
        let hot = (config.hot_bytes / unit).min(span);
        let own = (span - hot) / u64::from(config.connections.max(1));
        Self { span, hot, own_first: hot + own * u64::from(connection), own }
    }
}

/// The endless sequence of one connection's operations.
#[derive(Debug)]
pub struct Plan {
    random: Seeded,
    place: Place,
    sizes: SizeMix,
    unit_bytes: u32,
    max_units: u64,
    hot_percent: u8,
    fua_percent: u8,
    trim_kind: Kind,
    /// Upper bounds of the shares, cumulated: reads, flushes, zeroings, trims; the rest are writes.
    shares: [u8; 4],
}

impl Plan {
    /// A plan for what this export can do: what it cannot is written as data instead.
    pub fn new(config: &Config, info: &ExportInfo, place: Place, writer: u32) -> Self {
        let given = [
            config.read_percent,
            if info.can_flush() { config.flush_percent } else { 0 },
            if info.can_write_zeroes() { config.zero_percent } else { 0 },
            if info.can_trim() { config.trim_percent } else { 0 },
        ];
        let mut sum = 0;
        let shares = given.map(|share| {
            sum += share;
            sum
        });
        Self {
            random: Seeded::new(config.seed, u64::from(writer)),
            place,
            sizes: config.sizes.clone(),
            unit_bytes: config.unit_bytes,
            max_units: u64::from(info.max_payload_bytes() / config.unit_bytes).max(1),
            hot_percent: config.hot_percent,
            fua_percent: if info.can_fua() { config.fua_percent } else { 0 },
            trim_kind: if config.trims_read_zero { Kind::Zero } else { Kind::MaybeZero },
            shares,
        }
    }

    /// The next operation.
    pub fn next_operation(&mut self) -> Planned {
        let point = self.random.below(100);
        let [reads, flushes, zeroes, trims] = self.shares.map(u64::from);
        let fua = self.random.percent(self.fua_percent);
        let action = if point < reads {
            Action::Read
        } else if point < flushes {
            return Planned { action: Action::Flush, first_unit: 0, units: 0 };
        } else if point < zeroes {
            Action::Change { kind: Kind::Zero, trim: false, fua }
        } else if point < trims {
            Action::Change { kind: self.trim_kind, trim: true, fua: false }
        } else {
            Action::Change { kind: Kind::Data, trim: false, fua }
        };
        let (first, length) = self.area(action == Action::Read);
        let wanted = u64::from(self.sizes.pick(&mut self.random) / self.unit_bytes);
        let units = wanted.min(length).min(self.max_units).max(1);
        let first_unit = first + self.random.below(length - units + 1);
        Planned { action, first_unit, units: u32::try_from(units).unwrap_or(1) }
    }

    /// Where the operation goes: first unit and length, which is never 0.
    fn area(&mut self, is_read: bool) -> (u64, u64) {
        let place = self.place;
        let hot = self.random.percent(self.hot_percent);
        if place.hot > 0 && (hot || place.own == 0) {
            (0, place.hot)
        } else if is_read || place.own == 0 {
            (0, place.span)
        } else {
            (place.own_first, place.own)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(flags: u16) -> ExportInfo {
        ExportInfo { size: 64 << 20, flags, block_sizes: None, structured: true }
    }

    #[test]
    fn a_seed_gives_the_same_operations_again_and_they_stay_where_they_belong() {
        let mut config = Config::new(vec!["nbd://x".into()]);
        (config.zero_percent, config.trim_percent) = (5, 5);
        let span = 16 << 8;
        for connection in 0..4 {
            let place = Place::of(&config, span, connection);
            let mut one = Plan::new(&config, &info(0xffff), place, connection);
            let mut two = Plan::new(&config, &info(0xffff), place, connection);
            for _ in 0..5000 {
                let planned = one.next_operation();
                assert_eq!(planned, two.next_operation());
                let end = planned.first_unit + u64::from(planned.units);
                assert!(end <= span);
                if matches!(planned.action, Action::Change { .. }) {
                    let own = planned.first_unit >= place.own_first && end <= place.own_first + place.own;
                    assert!(own || end <= place.hot, "{planned:?} {place:?}");
                }
            }
        }
    }

    #[test]
    fn what_the_export_cannot_do_is_left_out() {
        let mut config = Config::new(vec!["nbd://x".into()]);
        (config.zero_percent, config.trim_percent, config.flush_percent) = (20, 20, 20);
        let mut plan = Plan::new(&config, &info(1), Place::of(&config, 1000, 0), 0);
        for _ in 0..1000 {
            let planned = plan.next_operation();
            let plain = Action::Change { kind: Kind::Data, trim: false, fua: false };
            assert!(planned.action == plain || planned.action == Action::Read, "{planned:?}");
        }
    }
}
