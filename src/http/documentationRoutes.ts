import {readFile} from 'node:fs/promises'
import {z} from 'zod'
import type {Config} from '../config.ts'
import type {DocumentedEvent} from '../edge/socketEvent.ts'
import {apiDocsPage} from './apiDocsPage.ts'
import {type OpenApi, openApiOf} from './openapi.ts'
import {type Route, route} from './route.ts'

const STYLE = new URL('apiDocs.css', import.meta.url)

/** The documentation of all routes, these included. It is made when it is first asked for. */
export const documentationRoutes = (
  {config, socketEvents}: {config: Pick<Config, 'baseUrl'>; socketEvents: readonly DocumentedEvent[]},
  allRoutes: () => readonly Route[],
): Route[] => {
  let made: OpenApi | null = null
  const document = (): OpenApi => {
    made ??= openApiOf(allRoutes(), socketEvents, config)
    return made
  }
  return [
    route({
      operationId: 'readOpenApi',
      method: 'get',
      path: '/openapi.json',
      summary: 'This document, OpenAPI 3.1',
      auth: 'none',
      answer: z.looseObject({openapi: z.string(), paths: z.looseObject({})}),
      handle: async () => ({body: document()}),
    }),
    route({
      operationId: 'readApiDocs',
      method: 'get',
      path: '/api-docs.html',
      summary: 'The documentation for people',
      auth: 'none',
      answer: {types: ['text/html']},
      handle: async ({res}) => {
        res.set('Cache-Control', 'no-cache').type('html').send(apiDocsPage(document()))
        return {}
      },
    }),
    route({
      operationId: 'readApiDocsStyle',
      method: 'get',
      path: '/api-docs.css',
      summary: 'How the documentation looks',
      auth: 'none',
      answer: {types: ['text/css']},
      handle: async ({res}) => {
        res
          .set('Cache-Control', 'no-cache')
          .type('css')
          .send(await readFile(STYLE, 'utf8'))
        return {}
      },
    }),
  ]
}
