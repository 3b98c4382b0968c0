// What goes wrong: each error says what was wrong, what was received, and what to do.

/** Base of all errors of this module. */
export class TaggerError extends Error {
  constructor(message, options) {
    super(message, options);
    this.name = this.constructor.name;
  }
}

/** A model is not there, is damaged, or is no model of this package. */
export class ModelError extends TaggerError {}

/** The files of onnxruntime-web are not there or do not start. */
export class RuntimeLoadError extends TaggerError {}

/** The sound cannot be used. */
export class AudioError extends TaggerError {}

/** An argument cannot be used. */
export class ArgumentError extends TaggerError {}

const KINDS = { ModelError, RuntimeLoadError, AudioError, ArgumentError };

/** Turn an error into what can be sent to another thread. */
export function packed(error) {
  return { name: error?.name ?? "Error", message: error?.message ?? String(error) };
}

/** Turn what was sent into an error of the same class. */
export function unpacked({ name, message }) {
  const Kind = KINDS[name] ?? TaggerError;
  return new Kind(Kind === TaggerError ? `${name}: ${message}` : message);
}
