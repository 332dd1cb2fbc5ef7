import {describe, expect, it} from 'vitest'
import {ourOpenApi} from '../support/conformance.ts'
import {visit} from '../support/server.ts'
import {sharedServer} from '../support/sharedServer.ts'

const server = sharedServer()
const page = async () => visit(server().url).get('/api-docs.html')

describe('apiDocsPage', () => {
  it('shows every operation, shape and socket event', async () => {
    const {status, text, headers} = await page()
    expect([status, headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8'])
    const {paths, components, 'x-socket-events': events} = ourOpenApi()
    const ids = Object.values(paths).flatMap((methods) => Object.values(methods).map(({operationId}) => operationId))
    const named = [...ids, ...Object.keys(components.schemas), ...events.map(({from, name}) => `${from}-${name}`)]
    for (const id of named) expect(text).toContain(`<article id="${id}">`)
  })

  it('has an anchor for each link in it, and each id once', async () => {
    const {text} = await page()
    const ids = [...text.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id)
    expect(new Set(ids).size).toBe(ids.length)
    for (const [, anchor] of text.matchAll(/href="#([^"]*)"/g)) expect(ids).toContain(anchor)
  })

  it('needs no script, no inline style and nothing from elsewhere, as its policy wants', async () => {
    const {text, headers} = await page()
    expect(headers.get('content-security-policy')).toContain("default-src 'none'")
    expect(headers.get('content-security-policy')).not.toContain('unsafe-inline')
    expect(text).not.toMatch(/<script|<style| style=| on\w+=/i)
    const sources = [...text.matchAll(/(?:src|href)="([^"#][^"]*)"/g)].map(([, source]) => source!)
    expect(sources).toEqual(expect.arrayContaining(['/api-docs.css', '/openapi.json']))
    // The icon is none, so that no browser asks for one.
    for (const source of sources.filter((source) => source !== 'data:,')) {
      expect(source).toMatch(/^\//)
      const {status, headers: sent} = await visit(server().url).get(source)
      expect([source, status, sent.get('x-content-type-options')]).toEqual([source, 200, 'nosniff'])
    }
    expect((await visit(server().url).get('/api-docs.css')).headers.get('content-type')).toMatch(/^text\/css/)
  })

  it('has one main heading, headings without gaps, and a language', async () => {
    const {text} = await page()
    expect(text).toMatch(/^<!doctype html>\n<html lang="en">/)
    const levels = [...text.matchAll(/<h([1-6])/g)].map(([, level]) => Number(level))
    expect(levels.filter((level) => level === 1)).toHaveLength(1)
    for (const [index, level] of levels.entries()) expect(level).toBeLessThanOrEqual((levels[index - 1] ?? 0) + 1)
  })

  it('shows what is documented as text, whatever it holds', async () => {
    const {text} = await page()
    const shown = text.replace(/<[^>]*>/g, '')
    expect(shown).not.toMatch(/undefined|\[object|NaN|null or null/)
  })
})
