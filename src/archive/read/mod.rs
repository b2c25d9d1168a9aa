//! Reading archives that are not trusted: bytes by position (`window`), a zip as the server reads it
//! (`stream`), a zip as every other tool reads it (`central`), and the two forms that are no zip
//! (`listing`).

pub(crate) mod central;
pub(crate) mod listing;
pub mod stream;
pub(crate) mod window;
