//! Types that are exactly their bytes.

/// A map key or value: fixed layout, no padding, every bit pattern valid.
///
/// # Safety
/// Implementors are `repr(C)`, have no padding bytes and accept any bytes; [`plain!`] checks the first two.
pub unsafe trait Plain: Copy + 'static {}

// SAFETY: a u32 is four bytes, any of them.
unsafe impl Plain for u32 {}
// SAFETY: a u64 is eight bytes, any of them.
unsafe impl Plain for u64 {}

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
        unsafe impl $crate::Plain for $name {}
    };
}
pub(crate) use plain;
