//! How a writer joins an area that may hold something else: it goes on where that stands in its chain, or tells it where to begin.

use midspan_format::frame::FrameHeader;
use midspan_format::geometry::Position;
use midspan_format::ids::AreaId;
use midspan_format::message::{Begin, Message, Welcome};

use super::Writer;
use crate::vocab::buffer::{Buffer, Buffers};
use crate::vocab::effect::{Context, Effect};
use crate::vocab::tip::Tip;

/// What came of a welcome where this chain is to be joined.
pub(super) enum Joined {
    /// The area goes on with this chain.
    Yes,
    /// It was told where to.
    Begins,
    /// It does not stand in this chain, and must not be told to.
    Never,
}

impl<B: Buffer> Writer<B> {
    /// What the area holds may be heads without data, of a time when it shared that with another lane: it begins anew.
    pub fn begin_whole(&mut self) {
        self.anew = true;
    }

    /// Whether the area stands where this chain begins; if not, it is told to go on there.
    pub(super) fn join<S: Buffers<Buf = B>>(
        &mut self,
        context: &mut Context<'_, S>,
        welcome: &Welcome,
    ) -> Joined {
        let Some(base) = self.base() else { return Joined::Begins };
        let is_last = welcome.last.is_none_or(|last| last.checksum == base.chain);
        let has_begun = self.begun && welcome.journaled == base.position && is_last;
        let enough = !self.anew && (welcome.began <= base.position || !self.may_begin);
        if welcome.area == self.area && (has_begun || enough && self.is_on_chain(welcome)) {
            self.joins = false;
            return Joined::Yes;
        }
        // At the very beginning there is nothing to lose; nor is there where what lies behind is of no use to anybody.
        if !self.may_begin && base.position > Position(0) && !self.may_cut_back(welcome, base) {
            return Joined::Never;
        }
        if !self.begun {
            self.begin(context, welcome.area);
        }
        Joined::Begins
    }

    /// Whether the area ends at a place of this chain from which frames of its present epoch can go on.
    fn is_on_chain(&self, welcome: &Welcome) -> bool {
        let found = Tip::behind(welcome.journaled, welcome.last.as_ref());
        let place = |tip: Tip| (tip.position, tip.sequence, tip.chain);
        let mut frames = self.unjournaled.iter().map(|sent| &sent.frame.header);
        let within = frames.any(|next| place(Tip::before(next)) == place(found) && next.epoch == self.epoch);
        within || self.tip.is_some_and(|tip| place(tip) == place(found))
    }

    /// Where the area goes on: before the first frame that is not journaled there.
    pub(super) fn base(&self) -> Option<Tip> {
        self.unjournaled.front().map(|sent| Tip::before(&sent.frame.header)).or(self.tip)
    }

    /// `found`: the journal that the area holds.
    pub(super) fn begin<S: Buffers<Buf = B>>(&mut self, context: &mut Context<'_, S>, found: AreaId) {
        let Some(base) = self.base() else { return };
        self.begun = true;
        let (journal, position) = (self.area, base.position);
        let (sequence, chain) = (base.sequence, base.chain);
        let is_it =
            |last: &FrameHeader| found == journal && last.end() == position && last.checksum == base.chain;
        let last = self.behind.filter(|last| self.keeps && is_it(last));
        let begin = Begin { journal, position, sequence, chain, last };
        context.ask(Effect::SendBlock { link: self.link.id, message: Message::Begin(begin) });
    }

    /// Whether the area must be told where to go on before it takes the next frame: it has forgotten its tip, or that what is
    /// sent again may be of an older epoch.
    pub(super) fn must_begin(&self, welcome: &Welcome) -> bool {
        let first = self.unjournaled.front().map(|sent| sent.frame.header.epoch);
        let forgot = welcome.last.is_none() && welcome.journaled > Position(0) && !self.begun;
        !self.is_index && (forgot || first.is_some_and(|epoch| epoch < self.epoch) && !self.begun)
    }
}
