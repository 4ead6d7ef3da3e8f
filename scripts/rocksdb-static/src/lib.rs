//! Nothing of its own: building this package builds `librocksdb.a`.
