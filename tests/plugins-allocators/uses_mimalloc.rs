//! mimalloc, with its default features.

use hotseat_plugin_api::export_handler;
use hotseat_test_plugin_allocators::Allocates;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

export_handler!(Allocates, allocator = none);
