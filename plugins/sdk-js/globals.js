// What the bundler takes from a library where a filter, or a package that it uses, names it.
export { default as structuredClone } from "core-js-pure/actual/structured-clone";
export { default as URL } from "core-js-pure/actual/url";
export { default as URLSearchParams } from "core-js-pure/actual/url-search-params";
