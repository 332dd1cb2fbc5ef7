import type {Parts} from '../edge/parts.ts'
import {CONTENT_TYPE} from '../metrics/metrics.ts'
import {type Route, route} from './route.ts'

export const metricsRoutes = ({metrics}: Pick<Parts, 'metrics'>): Route[] => [
  route({
    operationId: 'readMetrics',
    method: 'get',
    path: '/metrics',
    summary: "The server's figures, for Prometheus",
    auth: 'none',
    answer: {types: ['text/plain']},
    handle: async ({res}) => {
      const figures = await metrics.render()
      res.set({'Cache-Control': 'no-store', 'Content-Type': CONTENT_TYPE}).send(figures)
      return {}
    },
  }),
]
