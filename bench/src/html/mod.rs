//! A run as a page with pictures: small SVG drawings of our own, since a plotting library's have colours of their own,
//! which follow no theme, and know no axis of percentiles.

mod unit;
mod scale;
mod svg;
mod chart;
mod bars;
mod entry;
mod plots;
mod page;

pub use page::page;
