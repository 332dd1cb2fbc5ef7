/** The header that leads to the next page (RFC 8288); none on the last one. */
export const linkTo = (next: string | null): Record<string, string> =>
  next === null ? {} : {Link: `<${next}>; rel="next"`}
