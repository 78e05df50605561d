//! jemalloc, with its default features.

use hotseat_plugin_api::export_handler;
use hotseat_test_plugin_allocators::Allocates;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

export_handler!(Allocates, allocator = none);
