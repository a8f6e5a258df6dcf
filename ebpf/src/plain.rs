//! Types that are exactly their bytes.

use crate::hash::{BEGIN, add, fold};

/// A map key or value: fixed layout, no padding, every bit pattern valid.
///
/// # Safety
/// Implementors are `repr(C)`, have no padding bytes and accept any bytes; [`plain!`] checks the first two.
pub unsafe trait Plain: Copy + 'static {
    /// A hash of its fields: their names, order and types, to the bottom.
    const LAYOUT: u64;
}

macro_rules! integer {
    ($($type:ident)*) => {$(
        // SAFETY: an integer is its bytes, any of them.
        unsafe impl Plain for $type {
            const LAYOUT: u64 = add(BEGIN, stringify!($type).as_bytes());
        }
    )*};
}

integer!(u8 u16 u32 u64);

// SAFETY: its elements have no padding, nor has anything between them.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {
    const LAYOUT: u64 = fold(T::LAYOUT, N as u64);
}

/// Declares a type [`Plain`] and refuses to compile when the sizes of its fields do not add up to its own.
macro_rules! plain {
    ($name:ident { $($field:ident: $type:ty),* $(,)? }) => {
        const _: () = {
            const FIELDS: usize = 0 $(+ core::mem::size_of::<$type>())*;
            assert!(core::mem::size_of::<$name>() == FIELDS, "padding");
            // Fails when the list above is not the field list.
            fn fields(value: &$name) {
                let $name { $($field),* } = value;
                $(let _: &$type = $field;)*
            }
            let _ = fields;
        };
        // SAFETY: repr(C) by definition of the caller, without padding as asserted, made of integers.
        unsafe impl $crate::Plain for $name {
            const LAYOUT: u64 = {
                let mut hash = $crate::hash::BEGIN;
                $(
                    hash = $crate::hash::add(hash, stringify!($field).as_bytes());
                    hash = $crate::hash::fold(hash, <$type as $crate::Plain>::LAYOUT);
                )*
                hash
            };
        }
    };
}
pub(crate) use plain;
