//! `#[derive(Fields)]`: the parts of an event that a hook reads, as a struct.

use proc_macro::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Fields, GenericParam, Lifetime, Result, parse_macro_input, spanned::Spanned};

mod field;

use field::StructField;

/// Makes a struct readable from an event: each of its fields is a field of the event, named by
/// `#[field("/order/amount")]`, or by its own name where that is one of the contract's.
#[proc_macro_derive(Fields, attributes(field))]
pub fn fields(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    implementation(&input).unwrap_or_else(Error::into_compile_error).into()
}

fn implementation(input: &DeriveInput) -> Result<proc_macro2::TokenStream> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new(input.ident.span(), "`Fields` is derived for structs"));
    };
    let Fields::Named(named) = &data.fields else {
        return Err(Error::new(input.ident.span(), "`Fields` is derived for structs whose fields have names"));
    };
    let lifetime = lifetime(input)?;
    let fields = named.named.iter().map(StructField::new).collect::<Result<Vec<_>>>()?;
    let names = fields.iter().map(|field| &field.name);
    let members = fields.iter().enumerate().map(|(index, field)| field.read(index));
    let (name, (_, generics, _)) = (&input.ident, input.generics.split_for_impl());
    Ok(quote! {
        #[automatically_derived]
        impl<#lifetime> ::trommel_filter::Fields<#lifetime> for #name #generics {
            const NAMES: &'static [&'static str] = &[#(#names),*];

            fn read(event: &::trommel_filter::Event<#lifetime>) -> ::trommel_filter::Result<Self> {
                let _ = event;
                ::core::result::Result::Ok(Self { #(#members),* })
            }
        }
    })
}

/// The lifetime of the event that is read from: the struct's own, if it borrows.
fn lifetime(input: &DeriveInput) -> Result<Lifetime> {
    let mut params = input.generics.params.iter();
    match (params.next(), params.next()) {
        (None, _) => Ok(Lifetime::new("'event", input.ident.span())),
        (Some(GenericParam::Lifetime(param)), None) => Ok(param.lifetime.clone()),
        (Some(other), None) => Err(Error::new(other.span(), "a struct with `Fields` has no params but a lifetime")),
        (_, Some(other)) => Err(Error::new(other.span(), "a struct with `Fields` has at most one lifetime")),
    }
}
