//! Real dependencies in the way authors use them, one small plugin each: what `docs/dependencies.md`
//! tells of is measured with these. The first lines of each say what it stands for.
