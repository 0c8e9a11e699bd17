//! One field of the struct: its name in the event, and how it is read.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, Field, GenericArgument, Ident, LitStr, PathArguments, Result, Type, ext::IdentExt, spanned::Spanned};

/// Names of the contract that stand for themselves.
const PLAIN: [&str; 14] = [
    "subject",
    "event-type",
    "id",
    "source-time",
    "observed-at",
    "attempt",
    "tenant",
    "content-type",
    "source",
    "stream",
    "sequence",
    "key",
    "route",
    "payload",
];

pub struct StructField<'a> {
    ident: &'a Ident,
    /// The name in the event.
    pub name: String,
    ty: &'a Type,
}

impl<'a> StructField<'a> {
    pub fn new(field: &'a Field) -> Result<Self> {
        let ident = field.ident.as_ref().ok_or_else(|| Error::new(field.span(), "the field needs a name"))?;
        let written = field.attrs.iter().find(|attribute| attribute.path().is_ident("field"));
        let name = match written {
            Some(attribute) => checked(&attribute.parse_args::<LitStr>()?)?,
            None => own_name(ident)?,
        };
        let field = Self { ident, name, ty: &field.ty };
        field.check_type()?;
        Ok(field)
    }

    /// The member of a struct expression that reads it as the `index`th value of an event.
    pub fn read(&self, index: usize) -> TokenStream {
        let (ident, name) = (self.ident, &self.name);
        let inner = argument(self.ty, "Option");
        let is_text = is_shared_text(inner.unwrap_or(self.ty));
        let value = match (inner, is_text) {
            (None, false) => quote!(::trommel_filter::macros::required(event, #index, #name)?),
            (Some(_), false) => quote!(::trommel_filter::macros::optional(event, #index, #name)?),
            (None, true) => {
                quote!(::trommel_filter::macros::required::<::trommel_filter::macros::SharedText>(event, #index, #name)?.0)
            }
            (Some(_), true) => quote! {
                ::trommel_filter::macros::optional::<::trommel_filter::macros::SharedText>(event, #index, #name)?
                    .map(|text| text.0)
            },
        };
        quote!(#ident: #value)
    }

    /// Refuses types that could not be read of every event.
    fn check_type(&self) -> Result<()> {
        let ty = argument(self.ty, "Option").unwrap_or(self.ty);
        let refuse = |message| Err(Error::new(ty.span(), message));
        if self.name.starts_with('/') && is_borrowed(ty, "str") {
            return refuse("a text in JSON may have escapes, which can't be borrowed: use `Cow<'_, str>` or `String`");
        }
        if self.name == "payload" && argument(ty, "Vec").is_some_and(|item| is_path(item, "u8")) {
            return refuse("borrow the payload: `&'a [u8]`");
        }
        Ok(())
    }
}

fn checked(name: &LitStr) -> Result<String> {
    let value = name.value();
    if value.starts_with('/')
        || PLAIN.contains(&&*value)
        || value.strip_prefix("header:").is_some_and(|h| !h.is_empty())
    {
        return Ok(value);
    }
    let known = PLAIN.join("`, `");
    let message = format!(
        "`{value}` is not a field of events: write a JSON pointer such as `/order/amount`, `header:NAME`, or one of `{known}`"
    );
    Err(Error::new(name.span(), message))
}

fn own_name(ident: &Ident) -> Result<String> {
    let name = ident.unraw().to_string();
    let plain = name.replace('_', "-");
    if PLAIN.contains(&&*plain) {
        return Ok(plain);
    }
    let message = format!(
        "`{name}` is not a field of events: say which one it is, as in `#[field(\"/{name}\")]` for a member of the payload"
    );
    Err(Error::new(ident.span(), message))
}

/// The last part of a type's path, with what stands in its angle brackets.
fn last(ty: &Type) -> Option<(&Ident, Vec<&Type>)> {
    let Type::Path(path) = ty else { return None };
    let segment = path.path.segments.last()?;
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else {
        return Some((&segment.ident, Vec::new()));
    };
    let types = arguments.args.iter().filter_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    });
    Some((&segment.ident, types.collect()))
}

/// `T` of `Name<T>`.
fn argument<'a>(ty: &'a Type, name: &str) -> Option<&'a Type> {
    let (ident, arguments) = last(ty)?;
    if ident == name { arguments.first().copied() } else { None }
}

fn is_path(ty: &Type, name: &str) -> bool {
    last(ty).is_some_and(|(ident, _)| ident == name)
}

/// `&str` and its like.
fn is_borrowed(ty: &Type, name: &str) -> bool {
    matches!(ty, Type::Reference(reference) if is_path(&reference.elem, name))
}

/// `Cow<str>`, which serde would copy.
fn is_shared_text(ty: &Type) -> bool {
    argument(ty, "Cow").is_some_and(|text| is_path(text, "str"))
}
